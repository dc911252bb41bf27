use super::*;

/// What fits a beat of three lines.
const BEAT_BYTES: usize = 1000;

fn epoch(number: u32) -> Epoch {
    Epoch::new(number).unwrap()
}

fn mark(pull: u64, life: u16, high: u64) -> Mark {
    Mark { pull, life, high }
}

#[test]
fn what_no_beat_has_told_comes_first_and_all_is_told_in_turn() {
    let mut sender = Sender::default();
    (1..=5000).for_each(|pull| sender.mark(pull, epoch(7), 300));
    let mut told = Vec::new();
    let mut beat = 0;
    while sender.has_untold() {
        beat += 1;
        let marks = sender.marks(beat, BEAT_BYTES);
        assert!(marks.iter().map(Mark::encoded_len).sum::<usize>() <= BEAT_BYTES);
        told.extend(marks.into_iter().map(|mark| mark.pull));
    }
    assert_eq!(beat, 25, "five bytes each");
    assert!(told[..5000].is_sorted(), "each once, in order");
    // A pull that sends again comes before those which wait to be heard, and these go on in turn.
    sender.mark(4000, epoch(7), 301);
    let next = sender.marks(beat + 1, BEAT_BYTES);
    assert_eq!(next[0], mark(4000, 7, 301));
    let after = told.last().map_or(0, |last| last % 5000 + 1);
    assert_eq!(next[1].pull, after);
}

#[test]
fn a_mark_is_told_until_a_beat_that_told_it_was_heard() {
    let mut sender = Sender::default();
    let tell = |sender: &mut Sender, beat| sender.marks(beat, BEAT_BYTES);
    sender.mark(1, epoch(7), 10);
    assert_eq!(tell(&mut sender, 5), [mark(1, 7, 10)]);
    assert_eq!(tell(&mut sender, 6), [mark(1, 7, 10)]);
    // Beats before it were heard, and none that told it.
    sender.handle_beats(4, 0b1111);
    sender.handle_beats(6, 0b1100);
    sender.mark(2, epoch(7), 1);
    assert_eq!(tell(&mut sender, 7), [mark(2, 7, 1), mark(1, 7, 10)]);
    // The sixth was heard, before the seventh and after it: that tells of one mark only.
    sender.handle_beats(6, 0b01);
    assert_eq!(tell(&mut sender, 8), [mark(2, 7, 1)]);
    sender.handle_beats(9, 0b10);
    assert_eq!(tell(&mut sender, 10), []);
}

#[test]
fn a_later_offset_is_another_mark_and_an_earlier_one_is_none() {
    let mut sender = Sender::default();
    sender.mark(1, epoch(7), 10);
    sender.marks(1, BEAT_BYTES);
    sender.mark(1, epoch(7), 11);
    sender.mark(1, epoch(7), 9);
    sender.handle_beats(1, 1);
    assert_eq!(sender.marks(2, BEAT_BYTES), [mark(1, 7, 11)]);
    sender.mark(1, epoch(7), 11);
    assert!(!sender.has_untold());
    // Another life begins anew.
    sender.mark(1, epoch(8), 3);
    sender.handle_beats(2, 0b11);
    assert_eq!(sender.marks(3, BEAT_BYTES), [mark(1, 8, 3)]);
    sender.handle_beats(3, 1);
    assert_eq!(sender.marks(4, BEAT_BYTES), []);
    // It was heard, and something new is to be told.
    sender.mark(1, epoch(8), 4);
    sender.handle_beats(4, 0b11);
    assert_eq!(sender.marks(5, BEAT_BYTES), [mark(1, 8, 4)]);
    sender.mark(2, epoch(8), 1);
    sender.handle_close(2);
    assert_eq!(sender.marks(6, BEAT_BYTES), [mark(1, 8, 4)]);
    assert!(!sender.has_untold());
}

#[test]
fn every_copy_is_counted_by_whatever_it_went() {
    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    let now = Instant::now();
    let mut sender = Sender::default();
    sender.sent_by_stream((1, 1), 5000, 2, now);
    sender.sent_by_stream((1, 2), 5000, 1, now);
    sender.count_repair(1, 5000);
    sender.count_repair(2, 100);
    let counts = SenderCounts {
        messages: 2,
        bytes: 10_000,
        copies: 1,
        copy_bytes: 5000,
        repairs: 3,
        repair_bytes: 5200,
    };
    assert_eq!(sender.counts(), counts);
}
