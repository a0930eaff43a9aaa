//! One task of the keeper, from its beginning to its end or until somebody else has to act.

use std::time::Duration;

use certcentral::OrderId;
use dcv_core::{
    Dcv, Deploy, Error, Outcome, Purpose, Request, RunId, Waiting,
    journal::{Journal, JournalError},
    keeper::{Act, Task},
    state::Run,
};
use jiff::{SignedDuration, Timestamp};

use super::inventory::{Parked, out_of};
use crate::{
    args,
    config::Config,
    exit::{Code, Failure, Result},
    orders,
    request::{Prepared, Wanted, organization_number, read_names},
};

/// How long the deploy command may take unless the configuration says.
const DEPLOY_DEADLINE: Duration = Duration::from_secs(60);

/// What came of a task.
pub(super) enum Done {
    /// In words for people.
    Finished(String),
    /// Who must act, and what for; and where the CA will tell of it.
    Waits(Waiting, Option<(OrderId, Parked)>),
    /// Another worker is at it, or has done it meanwhile.
    Elsewhere,
}

/// Does one task. There were `earlier` runs of its label when it was decided.
pub(super) async fn carry_out(
    config: &Config,
    dcv: &Dcv,
    journal: &dyn Journal,
    task: &Task,
    earlier: u64,
) -> Result<Done> {
    let (run, result) = match &task.act {
        Act::Resume { run } => (run.clone(), dcv.resume(run).await),
        _ => begin(config, dcv, journal, task, earlier).await?,
    };
    let done = finished(result)?;
    Ok(match done {
        // Read, because what a run waits for is what its journal says.
        Done::Waits(waiting, _) => Done::Waits(waiting, read(journal, &run).await.ok().flatten().and_then(Parked::of)),
        done => done,
    })
}

/// Begins a run.
async fn begin(
    config: &Config,
    dcv: &Dcv,
    journal: &dyn Journal,
    task: &Task,
    earlier: u64,
) -> Result<(RunId, dcv_core::Result<Outcome>)> {
    let mut prepared = prepare(config, dcv, task).await?;
    prepared.request.label = Some(task.label.clone());
    prepared.request.earlier = Some(earlier);
    prepared.write_key()?;
    let undo = prepared.undo();
    let run = RunId::new(Timestamp::now());
    let result = dcv.issue_as(run.clone(), prepared.request).await;
    if let Err(error) = &result {
        // A key is needed as long as nobody knows that it is not.
        let needed = read(journal, &run).await.map_or(true, |run| run.is_some_and(|run| run.end.is_none()));
        if !needed {
            tracing::debug!(%error, "nothing was begun");
            undo();
        }
    }
    Ok((run, result))
}

/// A run as the journal has it; `None` where it has none.
async fn read(journal: &dyn Journal, run: &RunId) -> Result<Option<Run>, JournalError> {
    match journal.read(run).await {
        Ok(entries) => Ok(Run::fold(run.clone(), &entries)),
        Err(JournalError::Unknown(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn finished(result: dcv_core::Result<Outcome>) -> Result<Done> {
    use JournalError::{Begun, Fenced, Held};
    let outcome = match result {
        Err(Error::Journal(error @ (Held(_) | Fenced(_) | Begun { .. }))) => {
            tracing::info!(%error, "left to another worker");
            return Ok(Done::Elsewhere);
        }
        result => result?,
    };
    Ok(match outcome {
        Outcome::Waiting(waiting) => Done::Waits(waiting, None),
        Outcome::Issued(issued) if !issued.left_behind.is_empty() => {
            return Err(Failure::new(
                Code::LeftBehind,
                format!("{} proofs could not be taken back", issued.left_behind.len()),
            ));
        }
        Outcome::Issued(issued) => Done::Finished(format!(
            "{} until {}",
            issued.chain.names().join(" "),
            issued.chain.not_after().strftime("%Y-%m-%d")
        )),
        outcome @ Outcome::Validated(_) => Done::Finished(outcome.to_string()),
    })
}

/// The request of a task.
async fn prepare(config: &Config, dcv: &Dcv, task: &Task) -> Result<Prepared> {
    let Some(kept) = config.certificates.get(&task.label) else {
        let types: Vec<&str> = config.keep.domain_types.iter().map(String::as_str).collect();
        let organization = match &config.defaults.organization {
            Some(text) => Some(organization_number(config, text).await?),
            None => None,
        };
        // Whatever is left now is too little.
        let until = task.ends.unwrap_or(Timestamp::now()) + SignedDuration::from_hours(24);
        let names = read_names(std::slice::from_ref(&task.label))?;
        let mut request = Request::domains(names, organization, &types, until)?.method(config.defaults.method);
        request.placement = config.defaults.placement();
        return Ok(Prepared::without_certificate(request));
    };
    let order = args::Order {
        product: kept.product.clone(),
        organization: kept.organization.clone(),
        ..args::Order::default()
    };
    let all = args::account::Names { all: kept.names.clone(), ..args::account::Names::default() };
    let wanted = match task.act {
        Act::Renew { order_id } => {
            let earlier = orders::find(dcv.client(), &order_id.to_string()).await?;
            Wanted::renewal(config, &earlier, &all, &order).await?
        }
        Act::Reissue { order_id } => {
            let earlier = orders::find(dcv.client(), &order_id.to_string()).await?;
            Wanted::again(Purpose::Reissue { order_id }, &earlier, &all)?
        }
        _ => Wanted::order(config, &kept.names, &order).await?,
    };
    let certificate = args::Certificate {
        method: kept.method,
        key: kept.key.clone(),
        key_type: kept.key_type.filter(|_| kept.key.is_none()),
        out: Some(out_of(config, kept).to_owned()),
        cert_days: kept.cert_days,
        ..args::Certificate::default()
    };
    let mut prepared = Prepared::new(config, wanted, &certificate)?;
    if !kept.deploy.is_empty() {
        let timeout = kept.deploy_timeout.unwrap_or(DEPLOY_DEADLINE);
        prepared.request.deploy = Some(Deploy { command: kept.deploy.clone(), timeout });
    }
    Ok(prepared)
}
