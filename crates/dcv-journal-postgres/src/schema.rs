//! The tables, how they are made, and every statement that is sent.
//!
//! Each statement is a transaction of its own and leaves nothing half done, so that a lost connection leaves only one question:
//! whether it was carried out. Entries and claims carry an id of their own by which that is found out.

use tokio_postgres::{Client, GenericClient};

use crate::server::Failure;

/// What brings the tables from each version to the next, none to the first.
const VERSIONS: [&str; 1] = ["
    CREATE TABLE dcv_journal (version integer NOT NULL);
    INSERT INTO dcv_journal VALUES (0);
    CREATE TABLE dcv_run (
        id     text PRIMARY KEY,
        began  bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
        label  text,
        nth    bigint,                          -- among the runs of its label, from 1
        open   boolean NOT NULL DEFAULT true,
        length bigint NOT NULL,                 -- number of entries
        epoch  bigint NOT NULL,                 -- grows with each claim
        claim  uuid NOT NULL,                   -- the last claim
        worker text,                            -- who holds it
        until  timestamptz                      -- how long, by this server's clock
    ) WITH (fillfactor = 70);
    -- Two who begin the same after the same look are told apart here, and one begins nothing beside what is open.
    CREATE UNIQUE INDEX dcv_run_of_label ON dcv_run (label, nth);
    CREATE UNIQUE INDEX dcv_run_open ON dcv_run (label) WHERE open;
    CREATE INDEX dcv_run_to_do ON dcv_run (began) WHERE open;
    CREATE TABLE dcv_entry (
        run    text NOT NULL REFERENCES dcv_run (id),
        seq    bigint NOT NULL,
        id     uuid NOT NULL UNIQUE,
        at     timestamptz NOT NULL DEFAULT clock_timestamp(),
        body   json NOT NULL,
        PRIMARY KEY (run, seq)
    );
"];

/// One worker at a time makes the tables. Any number will do that nobody else locks in this database.
const LOCK: &str = "SELECT pg_advisory_xact_lock(x'6463762d6a6e6c31'::bigint)";
/// Read from the catalogue itself: `to_regclass` would repeat what it has said before the lock was waited for.
const IS_THERE: &str = "
    SELECT EXISTS (SELECT 1 FROM pg_class WHERE relname = 'dcv_journal' AND pg_table_is_visible(oid))";

/// Commits reach the disk, even where the server's default is that they need not.
pub(crate) const DURABLE: &str = "
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// Run, label, number of earlier runs, claim, worker, seconds, entry's id, entry. No row comes back when another run is in the way;
/// one that is just being begun is waited for.
pub(crate) const BEGIN: &str = "
    WITH last AS (SELECT coalesce(max(nth), 0) AS nth FROM dcv_run WHERE label = $2),
    run AS (
        INSERT INTO dcv_run (id, label, nth, length, epoch, claim, worker, until)
        SELECT $1, $2, CASE WHEN $2 IS NOT NULL THEN last.nth + 1 END,
               1, 1, $4::uuid, $5, clock_timestamp() + make_interval(secs => $6)
        FROM last WHERE $2 IS NULL OR $3 IS NULL OR $3 >= last.nth
        ON CONFLICT DO NOTHING
        RETURNING id
    )
    INSERT INTO dcv_entry (run, seq, id, body) SELECT id, 1, $7::uuid, $8::json FROM run RETURNING seq";

/// Run, claim.
pub(crate) const IS_OURS: &str = "SELECT claim = $2::uuid FROM dcv_run WHERE id = $1";

/// Label: the run that is open, else the last.
pub(crate) const OF_LABEL: &str = "
    SELECT id, open, (SELECT max(nth) FROM dcv_run WHERE label = $1) FROM dcv_run WHERE label = $1
    ORDER BY open DESC, nth DESC LIMIT 1";

/// Run, claim, worker, seconds. Of a row that somebody else is just changing nothing is waited for: they are about to hold it.
pub(crate) const CLAIM: &str = "
    WITH free AS (
        SELECT id FROM dcv_run
        WHERE id = $1 AND (until IS NULL OR until <= clock_timestamp() OR claim = $2::uuid)
        FOR UPDATE SKIP LOCKED
    )
    UPDATE dcv_run AS run
    SET epoch = epoch + 1, claim = $2::uuid, worker = $3, until = clock_timestamp() + make_interval(secs => $4)
    FROM free WHERE run.id = free.id
    RETURNING run.epoch";

/// Run, epoch, entry's id, entry, whether it closes the run. The row is locked first, and looked at as it is then: whoever
/// claims the run meanwhile comes before or after as a whole.
pub(crate) const APPEND: &str = "
    WITH held AS (
        UPDATE dcv_run SET length = length + 1, open = open AND NOT $5
        WHERE id = $1 AND epoch = $2 AND until > clock_timestamp()
        RETURNING id, length
    )
    INSERT INTO dcv_entry (run, seq, id, body) SELECT id, length, $3::uuid, $4::json FROM held RETURNING seq";

/// Entry's id.
pub(crate) const HAS_ENTRY: &str = "SELECT 1 FROM dcv_entry WHERE id = $1::uuid";

/// Run.
pub(crate) const HAS_RUN: &str = "SELECT 1 FROM dcv_run WHERE id = $1";

/// Runs: each with microseconds since 1970, entry.
pub(crate) const READ: &str = "
    SELECT run, (extract(epoch FROM at) * 1000000)::bigint, body::text FROM dcv_entry WHERE run = ANY ($1)
    ORDER BY run, seq";

pub(crate) const ALL: &str = "SELECT id FROM dcv_run ORDER BY began";
pub(crate) const OPEN: &str = "SELECT id FROM dcv_run WHERE open ORDER BY began";
pub(crate) const FREE: &str = "
    SELECT id FROM dcv_run WHERE open AND (until IS NULL OR until <= clock_timestamp()) ORDER BY began";

/// Label, how many.
pub(crate) const RUNS_OF_LABEL: &str = "SELECT id FROM dcv_run WHERE label = $1 ORDER BY nth DESC LIMIT $2";

/// Runs, their epochs, seconds. A lease that has ended is not brought back to life.
pub(crate) const RENEW: &str = "
    UPDATE dcv_run AS run SET until = clock_timestamp() + make_interval(secs => $3)
    FROM unnest($1, $2) AS mine (id, epoch)
    WHERE run.id = mine.id AND run.epoch = mine.epoch AND run.until > clock_timestamp()
    RETURNING run.id";

/// Runs, their epochs.
pub(crate) const RELEASE: &str = "
    UPDATE dcv_run AS run SET until = NULL, worker = NULL
    FROM unnest($1, $2) AS mine (id, epoch) WHERE run.id = mine.id AND run.epoch = mine.epoch";

/// Makes the tables where there are none, and says so where they are of a newer program.
pub(crate) async fn prepare(client: &mut Client) -> Result<(), Failure> {
    if version(client).await? == VERSIONS.len() {
        return Ok(());
    }
    let tx = client.transaction().await?;
    tx.batch_execute(LOCK).await?;
    // Looked at once more: another worker may have been faster.
    for step in &VERSIONS[version(&tx).await?..] {
        tx.batch_execute(step).await?;
        tx.batch_execute("UPDATE dcv_journal SET version = version + 1").await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn version(client: &impl GenericClient) -> Result<usize, Failure> {
    let is_there: bool = client.query_typed(IS_THERE, &[]).await?[0].try_get(0)?;
    if !is_there {
        return Ok(0);
    }
    let rows = client.query_typed("SELECT version FROM dcv_journal", &[]).await?;
    let version: i32 = match rows.first() {
        Some(row) => row.try_get(0)?,
        None => return Err(Failure::last("its table dcv_journal is empty; it is no journal of dcv")),
    };
    match usize::try_from(version) {
        Ok(version) if version <= VERSIONS.len() => Ok(version),
        _ => Err(Failure::last(format!(
            "it was written by a newer dcv (format {version}, this one knows {})",
            VERSIONS.len()
        ))),
    }
}
