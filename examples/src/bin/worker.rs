//! One of many workers, on as many machines, with a journal on PostgreSQL: goes on with what others have left, then orders.
//! `DCV_JOURNAL=postgres://dcv@db.example.com/dcv DCV_SERVER=ns1.example.com DCV_TSIG_NAME=dcv-key DCV_TSIG_SECRET=… cargo run --bin worker
//! www.example.com`

use std::sync::Arc;

use dcv_core::{Method, TxtOwner, journal::Which};
use dcv_examples::{builder, dns, env, order_by};
use dcv_journal_postgres::PostgresJournal;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let provider = dcv_rfc2136::builder(env("DCV_SERVER")?)
        .tsig(env("DCV_TSIG_NAME")?, env("DCV_TSIG_SECRET")?.into())
        .dns(dns()?)
        .build()?;
    let journal = PostgresJournal::connect(&env("DCV_JOURNAL")?).await?;
    let dcv = builder(provider)?.journal(Arc::new(journal)).build().await?;
    for run in dcv.runs(Which::Free).await? {
        eprintln!("{}: {}", run.id, dcv.resume(&run.id).await?);
    }
    order_by(&dcv, Method::DnsTxtToken, TxtOwner::Domain).await
}
