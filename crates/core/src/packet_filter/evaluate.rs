//! Evaluation of rules for a new connection, with conditions that may or may not hold.

use std::net::IpAddr;

use super::{Action, Chain, FilterVerdict, Match, NewConnection, Rule, Ruleset};

/// Chains that the kernel follows from one to another (NFT_JUMP_STACK_SIZE).
const MAX_JUMPS: usize = 16;
/// The hooks that a packet to this host passes, in their order.
const HOOKS: [&str; 3] = ["ingress", "prerouting", "input"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Yes,
    No,
    Maybe,
}

/// How the rules of a chain end.
enum End {
    Accept,
    Drop(String),
    /// The last rule, or a return.
    Continue,
}

/// What may have happened before a rule.
#[derive(Default)]
struct Doubts {
    may_drop: Option<String>,
    may_accept: bool,
}

impl Ruleset {
    /// What the rules do with a new connection.
    pub fn verdict(&self, c: &NewConnection<'_>) -> FilterVerdict {
        let mut may_drop = None;
        for hook in HOOKS {
            let mut base: Vec<_> = self
                .chains
                .iter()
                .filter_map(|(key, chain)| Some((key, chain, chain.base.as_ref().filter(|b| b.hook == hook)?)))
                .filter(|((table, _), _, b)| {
                    is_of_family(table, c.addr) && b.device.as_ref().is_none_or(|d| d == c.device)
                })
                .collect();
            base.sort_by_key(|(_, _, b)| b.priority);
            for (key, chain, b) in base {
                let mut doubts = Doubts::default();
                let end = match self.run(c, key, chain, &mut doubts, 0) {
                    End::Continue if b.drops => End::Drop(format!("the policy of chain {} of table {}", key.1, key.0)),
                    end => end,
                };
                match end {
                    End::Drop(rule) if !doubts.may_accept => return FilterVerdict::Drop(rule),
                    End::Drop(rule) => may_drop = may_drop.or(Some(rule)),
                    End::Accept | End::Continue => may_drop = may_drop.or(doubts.may_drop),
                }
            }
        }
        may_drop.map_or(FilterVerdict::Accept, FilterVerdict::MayDrop)
    }

    fn run(
        &self,
        c: &NewConnection<'_>,
        key: &(String, String),
        chain: &Chain,
        doubts: &mut Doubts,
        depth: usize,
    ) -> End {
        for rule in &chain.rules {
            let holds = all_hold(c, &rule.matches);
            if holds == Holds::No {
                continue;
            }
            let name = || describe(key, rule);
            match self.act(c, &key.0, &rule.action, &name, doubts, (holds == Holds::Maybe, depth)) {
                Some(End::Continue) => return End::Continue, // return
                Some(end) => return end,
                None => {}
            }
        }
        End::Continue
    }

    /// Carries out an action. `None`: the next rule follows.
    fn act(
        &self,
        c: &NewConnection<'_>,
        table: &str,
        action: &Action,
        name: &dyn Fn() -> String,
        doubts: &mut Doubts,
        (maybe, depth): (bool, usize),
    ) -> Option<End> {
        match action {
            Action::Continue => None,
            Action::Unknown => {
                doubts.may_drop.get_or_insert_with(name);
                doubts.may_accept = true;
                None
            }
            Action::Accept if maybe => {
                doubts.may_accept = true;
                None
            }
            Action::Drop if maybe => {
                doubts.may_drop.get_or_insert_with(name);
                None
            }
            Action::Accept => Some(End::Accept),
            Action::Drop => Some(End::Drop(name())),
            // If it may return, the rules behind it may be skipped: they may drop or accept. They are looked at in any
            // case, and nothing that they do is certain then; but a drop by them stays possible.
            Action::Return => (!maybe).then_some(End::Continue),
            Action::Jump(to) | Action::Goto(to) => {
                let key = (table.to_owned(), to.clone());
                let Some(chain) = self.chains.get(&key).filter(|_| depth < MAX_JUMPS) else {
                    doubts.may_drop.get_or_insert_with(name);
                    return None;
                };
                let end = self.run(c, &key, chain, doubts, depth + 1);
                let end = match end {
                    End::Continue if matches!(action, Action::Jump(_)) => return None,
                    end => end,
                };
                if !maybe {
                    return Some(end);
                }
                match end {
                    End::Accept => doubts.may_accept = true,
                    End::Drop(rule) => drop(doubts.may_drop.get_or_insert(rule)),
                    End::Continue => {}
                }
                None
            }
            Action::Map(cases) => {
                for (condition, action) in cases {
                    let holds = all_hold(c, std::slice::from_ref(condition));
                    if holds == Holds::No {
                        continue;
                    }
                    let is_maybe = maybe || holds == Holds::Maybe;
                    let end = self.act(c, table, action, name, doubts, (is_maybe, depth));
                    if holds == Holds::Yes {
                        return end;
                    }
                }
                None
            }
        }
    }
}

fn describe((table, chain): &(String, String), rule: &Rule) -> String {
    format!("rule {} of chain {chain} of table {table}", rule.handle)
}

/// The family of a table is the first word of its name.
fn is_of_family(table: &str, addr: IpAddr) -> bool {
    match table.split(' ').next() {
        Some("ip") => addr.is_ipv4(),
        Some("ip6") => addr.is_ipv6(),
        Some("inet" | "netdev") => true,
        _ => false, // arp, bridge
    }
}

fn all_hold(c: &NewConnection<'_>, matches: &[Match]) -> Holds {
    let mut all = Holds::Yes;
    for m in matches {
        match holds(c, m) {
            Holds::No => return Holds::No,
            Holds::Maybe => all = Holds::Maybe,
            Holds::Yes => {}
        }
    }
    all
}

fn holds(c: &NewConnection<'_>, m: &Match) -> Holds {
    let (negated, is_met) = match m {
        Match::Unknown => return Holds::Maybe,
        Match::Device(negated, names) => (negated, names.iter().any(|n| is_device(c.device, n))),
        Match::Destination(negated, ranges) => {
            let same = |a: &IpAddr| a.is_ipv4() == c.addr.is_ipv4();
            (negated, ranges.iter().any(|(first, last)| same(first) && *first <= c.addr && c.addr <= *last))
        }
        Match::Protocol(negated, numbers) => (negated, numbers.contains(&c.protocol.number())),
        Match::Port(_, Some(protocol), _) if *protocol != c.protocol.number() => return Holds::No,
        Match::Port(..) if c.port == 0 => return Holds::Maybe,
        Match::Port(negated, _, ranges) => {
            (negated, ranges.iter().any(|(first, last)| (*first..=*last).contains(&c.port)))
        }
        Match::Family(negated, family) => (negated, (*family == 4) == c.addr.is_ipv4()),
        Match::State(negated, states) => (negated, states.iter().any(|s| s == "new")),
    };
    if is_met != *negated { Holds::Yes } else { Holds::No }
}

fn is_device(device: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => device.starts_with(prefix),
        None => device == pattern,
    }
}
