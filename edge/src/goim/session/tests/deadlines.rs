//! Which deadlines hold when.

use super::*;

#[test]
fn deadlines() {
    let mut world = World::tcp();
    assert!(world.after(Duration::from_millis(4999)).is_empty());
    world.say(operation::HEARTBEAT, 1, "");
    assert_eq!(world.after(Duration::from_millis(1)), ["close 3502 Peer"]);

    let mut world = World::tcp();
    world.say(operation::AUTH, 1, "{}");
    assert_eq!(world.after(Duration::from_secs(5)), ["close 3004 Us"], "the upstream is away");

    let mut world = World::tcp();
    world.log_in(GOIM_LOGIN);
    assert!(world.after(Duration::from_secs(400)).is_empty());
    world.say(operation::HEARTBEAT, 1, "");
    assert!(world.after(Duration::from_secs(400)).is_empty());
    world.say(1000, 2, "");
    world.say(operation::SUB, 3, "1000");
    assert_eq!(world.session.next_deadline(), Some(world.now + Duration::from_secs(80)));
    assert_eq!(world.after(Duration::from_secs(80)), ["close 3012 Silence"], "only op 2 counts");
    assert!(world.after(Duration::from_secs(80)).is_empty());
}
