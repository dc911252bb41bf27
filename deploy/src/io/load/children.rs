//! The parent's end of the pipe: the child processes and what they tell.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc::{self, Receiver};
use tokio::task::JoinSet;

use crate::load::pipe::{Final, Order, Progress, Report, Role, Second};
use crate::load::plan::Plan;

/// Child processes, which end with this value.
#[derive(Debug)]
pub(super) struct Children {
    children: Vec<(Child, ChildStdin)>,
    reports: Receiver<(usize, io::Result<Report>)>,
    _readers: JoinSet<()>,
    /// What they told.
    pub(super) told: Told,
}

/// What children told until now.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Of each worker.
    pub(super) progress: Vec<Progress>,
    /// What came in each second.
    pub(super) seconds: BTreeMap<u64, Vec<Second>>,
    /// Of each worker that is done.
    pub(super) finals: Vec<Final>,
    /// Where senders listen, by their numbers.
    pub(super) listening: BTreeMap<usize, SocketAddr>,
    /// Of each sender that is done: sends, messages, microseconds on a processor and in all.
    pub(super) sent: Vec<(u64, u32, u64, u64)>,
}

impl Told {
    /// The sum of what workers have come to.
    pub(super) fn progress(&self) -> Progress {
        let mut sum = Progress::default();
        for one in &self.progress {
            sum.ready += one.ready;
            sum.lost += one.lost;
            sum.ready_at = sum.ready_at.max(one.ready_at);
            sum.received += one.received;
            sum.cpu += one.cpu;
        }
        sum
    }
}

impl Children {
    /// Starts this program `count` times more, each with the plan.
    pub(super) async fn start(plan: &Plan, role: Role, count: u32) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let (sender, reports) = mpsc::channel(REPORTS_WAITING);
        let mut readers = JoinSet::new();
        let mut children = Vec::new();
        for number in 0..count {
            let mut child = Command::new(&program)
                .arg(super::CHILD)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()?;
            let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
            let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
                return Err(io::Error::other("a child has no pipes"));
            };
            let order = Order::Begin { plan: Box::new(plan.clone()), role, number };
            say(&mut stdin, &order).await?;
            children.push((child, stdin));
            let sender = sender.clone();
            readers.spawn(async move {
                let mut lines = BufReader::new(stdout).lines();
                loop {
                    let report = match lines.next_line().await {
                        Ok(Some(line)) => serde_json::from_str(&line).map_err(io::Error::other),
                        Ok(None) => return,
                        Err(error) => Err(error),
                    };
                    if sender.send((number as usize, report)).await.is_err() {
                        return;
                    }
                }
            });
        }
        let told = Told { progress: vec![Progress::default(); count as usize], ..Told::default() };
        Ok(Self { children, reports, _readers: readers, told })
    }

    /// Orders all of them something.
    pub(super) async fn order(&mut self, order: &Order) -> io::Result<()> {
        for (_, stdin) in &mut self.children {
            say(stdin, order).await?;
        }
        Ok(())
    }

    /// Waits for the next report and takes it in. A child that ended before its last word is an error.
    pub(super) async fn hear(&mut self) -> io::Result<()> {
        let Some((number, report)) = self.reports.recv().await else {
            let mut statuses = Vec::new();
            for (child, _) in &mut self.children {
                statuses.extend(child.try_wait()?.map(|status: ExitStatus| status.to_string()));
            }
            let statuses = statuses.join(", ");
            return Err(io::Error::other(format!("all worker processes ended early ({statuses})")));
        };
        match report? {
            Report::Listening(address) => drop(self.told.listening.insert(number, address)),
            Report::Progress(progress) => self.told.progress[number] = progress,
            Report::Second(second) => self.told.seconds.entry(second.at).or_default().push(second),
            Report::Sent { sends, messages, cpu, took } => {
                self.told.sent.push((sends, messages, cpu, took));
            }
            Report::Final(last) => self.told.finals.push(*last),
        }
        Ok(())
    }

    /// Fails if a child ended before it was done.
    pub(super) fn check(&mut self) -> io::Result<()> {
        for (child, _) in &mut self.children {
            if let Some(status) = child.try_wait()?.filter(|status| !status.success()) {
                return Err(io::Error::other(format!("a worker process ended early ({status})")));
            }
        }
        Ok(())
    }
}

async fn say(stdin: &mut ChildStdin, order: &Order) -> io::Result<()> {
    let mut line = serde_json::to_vec(order).map_err(io::Error::other)?;
    line.push(b'\n');
    stdin.write_all(&line).await?;
    stdin.flush().await
}

const REPORTS_WAITING: usize = 1024;
