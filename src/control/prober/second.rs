//! The second opinion by HTTP, asked beside the direct check; a probe waits for it for at most half of its time.
//!
//! An endpoint that hangs is waited for once; then its request runs in the background until it answers in time again, so that a
//! probe of the database is as quick as without it. The last answer is remembered: for a check without roles as long as the backend
//! answers, since it is all that is known; otherwise only a denial, and only for a moment.

use std::time::Duration;

use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    super::probe::{
        Deadline, Finding,
        agreement::{self, Agreement, SecondOpinion, Trust},
        http,
    },
    client::{Answer, ProbeClient},
    events::{ProbeEvents, ProberEvent},
};
use crate::{
    config::CheckConfig,
    failover::{Class, Facts, Outcome, Printable, Role},
    net::{addr::BackendAddr, addresses::Addresses},
};

/// Between two requests about a backend that does not say it is primary: its endpoint changes nothing then.
const IDLE_SPACING: Duration = Duration::from_millis(100);

/// How long a denial counts when the endpoint falls silent after it.
const DENIAL_KEPT: Duration = Duration::from_secs(10);

/// This many denials in a row count for a backend on which both have agreed.
const DENIALS_NEEDED: u32 = 2;

/// This many answers, or silences, in a row are reported.
const WORTH_TELLING: u32 = 2;

/// Asks, and remembers.
#[derive(Debug)]
pub(super) struct Second {
    login: http::Login,
    timeout: Duration,
    events: ProbeEvents,
    asking: Option<Asking>,
    last_asked: Option<Instant>,
    /// Received, but not evaluated yet.
    arrived: Option<SecondOpinion>,
    /// The last clear answer.
    known: Option<Known>,
    /// Why the last request gave nothing.
    silence: Option<Printable>,
    /// The last answer came in time, so the next one is worth waiting for.
    prompt: bool,
    /// It was waited for without success for this claim.
    waited_for: Option<Claim>,
    /// The last finding of the direct check.
    claim: Option<Claim>,
    /// The claim to be primary was believed.
    trusted: bool,
    /// Denied this many times in a row.
    denials: u32,
    agreement: Agreement,
    in_a_row: u32,
    told: Agreement,
}

/// The pending request. Dropping it ends it.
#[derive(Debug)]
struct Asking {
    since: Instant,
    answer: oneshot::Receiver<(SecondOpinion, Instant)>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Known {
    opinion: SecondOpinion,
    at: Instant,
    claim: Claim,
}

/// What a database says of itself, as far as an endpoint can deny it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Claim {
    role: Option<Role>,
    db_epoch: Option<u64>,
}

impl Claim {
    const fn of(facts: &Facts) -> Self {
        Self { role: facts.role, db_epoch: facts.db_epoch }
    }

    /// The second opinion changes the result.
    const fn is_open(self) -> bool {
        matches!(self.role, None | Some(Role::Primary))
    }
}

impl Second {
    /// `None` for a check without a second opinion.
    pub(super) fn new(address: &BackendAddr, check: &CheckConfig, events: ProbeEvents) -> Option<Self> {
        Some(Self {
            login: http::Login::new(address, check.second.as_ref()?),
            timeout: check.timeout,
            events,
            asking: None,
            last_asked: None,
            arrived: None,
            known: None,
            silence: None,
            prompt: true,
            waited_for: None,
            claim: None,
            trusted: false,
            denials: 0,
            agreement: Agreement::Agrees,
            in_a_row: 0,
            told: Agreement::Agrees,
        })
    }

    /// Asks both. A failure of the direct check is not delayed; a success is, for at most half of the probe's time.
    pub(super) async fn beside(
        &mut self,
        direct: &mut ProbeClient,
        addresses: &Addresses,
        fresh: bool,
        deadline: Deadline,
    ) -> Answer {
        let begun = Instant::now();
        self.begin(addresses, begun);
        let mut answer = direct.ask(addresses, fresh, deadline).await;
        if let Answer::Finding { finding, .. } = &answer
            && let Some(until) = self.patience(finding, begun)
        {
            if self.asking.is_none() {
                self.ask(addresses);
            }
            let broken = tokio::select! {
                () = self.listen(until) => None,
                what = direct.broken() => Some(what),
            };
            if let Some(what) = broken {
                // The answer is older than the end of the session it came over.
                self.events.passive(what).await;
                answer = direct.ask(addresses, true, deadline).await;
            }
        }
        match answer {
            Answer::Finding { finding, fresh } => Answer::Finding { finding: self.weigh(finding).await, fresh },
            none @ (Answer::Unchanged | Answer::NoVerdict(_)) => none,
        }
    }

    fn begin(&mut self, addresses: &Addresses, now: Instant) {
        if let Some(asking) = &mut self.asking {
            match asking.answer.try_recv() {
                Ok((opinion, at)) => self.arrive(opinion, at),
                Err(oneshot::error::TryRecvError::Empty) => {}
                Err(oneshot::error::TryRecvError::Closed) => self.asking = None,
            }
        }
        let due = self.last_asked.is_none_or(|last| now >= last + IDLE_SPACING);
        if self.asking.is_none() && (due || self.claim.is_none_or(Claim::is_open)) {
            self.ask(addresses);
        }
    }

    fn ask(&mut self, addresses: &Addresses) {
        let (login, addresses, deadline) = (self.login.clone(), addresses.clone(), Deadline::after(self.timeout));
        let (sender, answer) = oneshot::channel();
        let task = tokio::spawn(async move {
            let opinion = login.second(&addresses, deadline).await;
            // Nobody waits any more when the backend died meanwhile.
            let _ = sender.send((opinion, Instant::now()));
        });
        let since = Instant::now();
        self.last_asked = Some(since);
        self.asking = Some(Asking { since, answer, _task: AbortOnDropHandle::new(task) });
    }

    fn arrive(&mut self, opinion: SecondOpinion, at: Instant) {
        if let Some(asking) = self.asking.take() {
            self.prompt = at.saturating_duration_since(asking.since) <= self.timeout / 2;
        }
        self.arrived = Some(opinion);
    }

    /// Until when to wait for an answer, after the direct check has finished.
    fn patience(&mut self, direct: &Finding, begun: Instant) -> Option<Instant> {
        let claim = Claim::of(&direct.facts);
        if direct.outcome != Outcome::Ok || !claim.is_open() {
            return None;
        }
        if self.claim.is_some_and(|before| before != claim) {
            // An answer about its former role says nothing about its present one.
            self.arrived = None;
        }
        let worth_it = self.arrived.is_none() && (self.prompt || self.waited_for != Some(claim));
        worth_it.then(|| begun + self.timeout / 2)
    }

    async fn listen(&mut self, until: Instant) {
        let Some(asking) = &mut self.asking else { return };
        match timeout_at(until, &mut asking.answer).await {
            Ok(Ok((opinion, at))) => self.arrive(opinion, at),
            Ok(Err(_)) => self.asking = None,
            Err(_) => self.prompt = false,
        }
    }

    /// Combines the two, and reports when their relation changes.
    async fn weigh(&mut self, direct: Finding) -> Finding {
        if direct.outcome != Outcome::Ok {
            self.forget(direct.outcome.class());
            return direct;
        }
        let claim = Claim::of(&direct.facts);
        if self.claim.replace(claim) != Some(claim) {
            (self.trusted, self.denials) = (false, 0);
        }
        let asked_in_vain = claim.is_open() && self.arrived.is_none();
        if asked_in_vain {
            self.waited_for = Some(claim);
        }
        let answered = matches!(self.arrived, Some(SecondOpinion::Primary(_) | SecondOpinion::Otherwise(_)));
        let news = asked_in_vain || self.arrived.is_some();
        let opinion = self.opinion(claim);
        let trust = if self.trusted && self.denials < DENIALS_NEEDED { Trust::Earned } else { Trust::New };
        let joined = agreement::join(direct, &opinion, trust);
        self.trusted = joined.finding.facts.role == Some(Role::Primary);
        if let Some(agreement) = joined.agreement.filter(|_| news) {
            let agreement = if answered { agreement } else { Agreement::Silent };
            self.tell(agreement, &joined.finding.evidence).await;
        }
        joined.finding
    }

    /// A backend that does not answer has lost its role. One that is only full, or refuses the check, has not.
    fn forget(&mut self, class: Class) {
        (self.asking, self.arrived) = (None, None);
        if matches!(class, Class::Failure | Class::NotServing) {
            (self.known, self.claim, self.trusted, self.denials) = (None, None, false, 0);
        }
    }

    /// The present answer, or an earlier one that still counts.
    fn opinion(&mut self, claim: Claim) -> SecondOpinion {
        match self.arrived.take() {
            Some(SecondOpinion::Nothing(why)) => self.silence = Some(why),
            Some(opinion) => {
                self.silence = None;
                self.denials = if matches!(opinion, SecondOpinion::Otherwise(_)) { self.denials + 1 } else { 0 };
                self.known = Some(Known { opinion: opinion.clone(), at: Instant::now(), claim });
                return opinion;
            }
            None => {}
        }
        let why = self.why_silent();
        match &self.known {
            Some(known) if claim.role.is_none() => aged(known, &why),
            Some(known @ Known { opinion: SecondOpinion::Otherwise(_), .. })
                if known.claim == claim && known.at.elapsed() <= DENIAL_KEPT =>
            {
                aged(known, &why)
            }
            _ => SecondOpinion::Nothing(why),
        }
    }

    fn why_silent(&self) -> Printable {
        match (&self.silence, &self.asking) {
            (Some(why), _) => why.clone(),
            (None, Some(asking)) => format!("asked {} ms ago, and no answer yet", asking.since.elapsed().as_millis()).into(),
            (None, None) => "it was not asked yet".into(),
        }
    }

    async fn tell(&mut self, agreement: Agreement, evidence: &Printable) {
        self.in_a_row = if agreement == self.agreement { self.in_a_row.saturating_add(1) } else { 1 };
        self.agreement = agreement;
        if self.in_a_row >= WORTH_TELLING && agreement != self.told {
            self.told = agreement;
            self.events.say(ProberEvent::SecondOpinion { agreement, evidence: evidence.clone() }).await;
        }
    }
}

/// What was said before, and how long ago.
fn aged(known: &Known, why: &str) -> SecondOpinion {
    let seconds = known.at.elapsed().as_secs();
    let older = |finding: &Finding| Finding {
        evidence: format!("{}, {seconds} s ago, and nothing since: {why}", finding.evidence).into(),
        ..finding.clone()
    };
    match &known.opinion {
        SecondOpinion::Primary(finding) => SecondOpinion::Primary(older(finding)),
        SecondOpinion::Otherwise(finding) => SecondOpinion::Otherwise(older(finding)),
        SecondOpinion::Nothing(why) => SecondOpinion::Nothing(why.clone()),
    }
}
