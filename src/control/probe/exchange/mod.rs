//! The check `exchange`: texts that are sent and texts that are expected, over a new connection each time, for databases without a
//! check of their own.
//!
//! It speaks first unless its first step is an expectation; it reads at most 64 KiB; it keeps no session. The evidence shows what
//! arrived instead of what was expected, but never what was sent.
//!
//! | file | what it holds |
//! |---|---|
//! | [`matcher`] | looks for texts in a stream |
//! | [`mod@quote`] | what may be shown of an answer |

pub mod matcher;
pub mod quote;

use std::{io, sync::Arc, time::Duration};

use async_trait::async_trait;
use matcher::Search;
use quote::quote;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout_at},
};

use super::{
    bounded::{Allowance, Bounded},
    deadline::Deadline,
    finding::{Failure, Finding},
    kind::{Check, Kind},
    single::Single,
    socket::io_error,
    stream::{Security, Stream},
};
use crate::{
    config::{
        ExchangeCheck,
        exchange::{Message, RoleTexts, Step},
    },
    failover::{Facts, Outcome, Printable, Role},
    net::{addr::BackendAddr, addresses::Addresses},
};

/// How long a server may take to answer our FIN with its own, so that it sees a normal close. The result is known by then and must
/// not wait long.
const FAREWELL: Duration = Duration::from_millis(50);

/// The beginning of what arrived is kept: as much as is shown, and a little more.
const KEPT: usize = 100;

/// The check of one backend.
#[derive(Debug)]
pub struct Exchange {
    host: Arc<str>,
    check: Arc<ExchangeCheck>,
}

impl Exchange {
    /// A check of `address`, as `check` says.
    pub fn new(address: &BackendAddr, check: &ExchangeCheck) -> Self {
        Self { host: address.host().into(), check: Arc::new(check.clone()) }
    }
}

impl Kind for ExchangeCheck {
    fn of(&self, address: &BackendAddr) -> Check {
        Check::Single(Box::new(Exchange::new(address, self)))
    }

    fn descriptors(&self) -> usize {
        1
    }
}

#[async_trait]
impl Single for Exchange {
    /// Connects and goes through the steps.
    async fn probe(&mut self, addresses: &Addresses, deadline: Deadline) -> Result<Finding, Printable> {
        let check = &*self.check;
        let (authorities, identity) = (check.tls_ca_file.as_deref(), check.tls_identity.as_ref());
        let security = Security { host: &self.host, mode: check.tls, authorities, identity };
        let (socket, tls) = match security.connect(addresses, deadline).await {
            Ok((socket, _, tls)) => (Bounded::new(socket, Allowance::new()), tls),
            Err(Failure::Backend(finding)) => return Ok(finding),
            Err(Failure::Local(evidence)) => return Err(evidence),
        };
        let stream = match timeout_at(deadline.at(), tls.encrypt(socket)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(finding)) => return Ok(finding),
            Err(_) => return Ok(Finding::late("connected, but the TLS handshake did not end", deadline)),
        };
        let mut talk = Talk { stream, check, step: 0, rest: Vec::new(), came: Vec::new(), awaits: None };
        let finding = match timeout_at(deadline.at(), talk.go_through()).await {
            Ok(Ok(finding)) => finding,
            Ok(Err(error)) => return Ok(talk.broken(&error)),
            Err(_) => return Ok(Finding::late(&format!("{},", talk.where_it_stood()), deadline)),
        };
        talk.say_goodbye(deadline).await;
        Ok(finding)
    }
}

struct Talk<'a> {
    stream: Box<dyn Stream>,
    check: &'a ExchangeCheck,
    /// The number of the step, from 1 on.
    step: usize,
    /// What arrived and was not searched yet.
    rest: Vec<u8>,
    /// The beginning of what arrived since the last match.
    came: Vec<u8>,
    /// What is expected; empty while something is sent.
    awaits: Option<Awaits<'a>>,
}

#[derive(Clone, Copy)]
enum Awaits<'a> {
    Text(&'a Message),
    Role,
}

impl<'a> Talk<'a> {
    async fn go_through(&mut self) -> io::Result<Finding> {
        let check = self.check;
        let mut found = 0;
        for step in &check.steps {
            self.step += 1;
            match step {
                Step::Send(message) => {
                    self.awaits = None;
                    self.stream.write_all(message.bytes()).await?;
                    self.stream.flush().await?;
                }
                Step::Expect(message) => {
                    self.hear(Awaits::Text(message), &[message]).await?;
                    found += 1;
                }
            }
        }
        let Some(RoleTexts { primary, standby }) = &check.roles else {
            let evidence =
                if found == 1 { "the expected text came".to_owned() } else { format!("all {found} expected texts came") };
            return Ok(Finding::new(Outcome::Ok, evidence));
        };
        self.step += 1;
        let role = if self.hear(Awaits::Role, &[primary, standby]).await? == 0 { Role::Primary } else { Role::Standby };
        let facts = Facts { role: Some(role), ..Facts::default() };
        Ok(Finding { outcome: Outcome::Ok, facts, evidence: role.to_string().into() })
    }

    /// Waits for the first of some texts; which one it was. Bytes behind it are left for the next step.
    async fn hear(&mut self, awaits: Awaits<'a>, texts: &[&Message]) -> io::Result<usize> {
        self.awaits = Some(awaits);
        self.came.clear();
        let mut search = Search::new(texts.iter().map(|text| text.bytes()));
        loop {
            if let Some(found) = search.feed(&self.rest) {
                self.rest.drain(..found.consumed);
                return Ok(found.which);
            }
            self.came.extend(self.rest.iter().take(KEPT.saturating_sub(self.came.len())));
            self.rest.clear();
            if self.stream.read_buf(&mut self.rest).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn broken(&self, error: &io::Error) -> Finding {
        let finding = io_error(error);
        Finding::new(finding.outcome, format!("{}: {}", self.where_it_stood(), finding.evidence))
    }

    fn where_it_stood(&self) -> String {
        let of = self.check.steps.len() + usize::from(self.check.roles.is_some());
        let wanted = match self.awaits {
            None => return format!("step {} of {of} could not be sent", self.step),
            Some(Awaits::Role) => "a role".to_owned(),
            Some(Awaits::Text(message)) => format!("{message:?}"),
        };
        let came = if self.came.is_empty() { "nothing".to_owned() } else { quote(&self.came, &self.sent()) };
        format!("step {} of {of} expected {wanted}, but {came} came", self.step)
    }

    /// Every text of the check, which must not be shown: the server may repeat them.
    fn sent(&self) -> Vec<&'a [u8]> {
        let secret = |message: &&Message| message.source().is_some();
        let roles = self.check.roles.iter().flat_map(|roles| [&roles.primary, &roles.standby]).filter(secret);
        let steps = self.check.steps.iter().filter_map(|step| match step {
            Step::Send(message) => Some(message),
            Step::Expect(message) => Some(message).filter(secret),
        });
        steps.chain(roles).map(Message::bytes).collect()
    }

    /// Closes the connection so that the server sees FIN and no abort, with nothing left unread.
    async fn say_goodbye(mut self, deadline: Deadline) {
        let farewell = async {
            // A failure here does not matter: the check is over.
            let _ = self.stream.shutdown().await;
            let mut sink = [0; 1024];
            while self.stream.read(&mut sink).await.is_ok_and(|count| count > 0) {}
        };
        let _ = timeout_at(deadline.at().min(Instant::now() + FAREWELL), farewell).await;
    }
}
