//! Times what the store does with a directory: `measure SOURCE SCRATCH`. SCRATCH must not exist and
//! gets the store and a checkout.

use std::path::PathBuf;
use std::time::Instant;

use pyro_format::TreePath;
use pyro_store::{CheckoutOptions, IngestOptions, IngestSource, Store, StoreOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(source), Some(scratch)) = (args.next(), args.next()) else {
        return Err("usage: measure SOURCE SCRATCH".into());
    };
    std::fs::create_dir_all(&scratch)?;
    let store = Store::open(&scratch.join("store"), StoreOptions::default())?;
    let source = IngestSource::detect(&source)?;
    let mut baseline = None;
    for what in ["ingest", "unchanged again"] {
        let report = store.ingest(&source, &IngestOptions::default(), &())?;
        println!(
            "{what}: {:.2?}, {} files ({} not opened), {} bytes, {} new, {} stored",
            report.duration,
            report.file_count,
            report.files_unchanged,
            report.bytes_total,
            report.bytes_new,
            report.stored_bytes
        );
        baseline = Some(report.baseline);
    }
    let baseline = baseline.ok_or("nothing was ingested")?;
    let started = Instant::now();
    let report = store.verify(&())?;
    println!("verify: {:.2?}, clean: {}", started.elapsed(), report.is_clean());
    for durable in [false, true] {
        let started = Instant::now();
        let dest = scratch.join(format!("out-{durable}"));
        let options = CheckoutOptions { force: false, durable };
        let report = store.checkout_baseline(baseline, &TreePath::root(), &dest, &options, &())?;
        println!("checkout (durable: {durable}): {:.2?}, {report:?}", started.elapsed());
    }
    drop(store);
    let started = Instant::now();
    let store = Store::open(&scratch.join("store"), StoreOptions::default())?;
    println!("open: {:.2?}, {:?}", started.elapsed(), store.stats()?);
    Ok(())
}
