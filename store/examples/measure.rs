//! Times what the store does with a directory: `measure SOURCE SCRATCH [STEP...]`. SCRATCH gets the
//! store and, for the steps `checkout` and `durable`, a copy of the source, which must not be
//! there yet. Steps are `ingest`, `verify`, `gc`, `checkout`, `durable`, `open`; all in this order when
//! none is given.

use std::path::PathBuf;
use std::time::Instant;

use pyro_format::{BaselineId, TreePath};
use pyro_store::{CheckoutOptions, GcOptions, IngestOptions, IngestSource, Store, StoreOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let (Some(source), Some(scratch)) = (args.next(), args.next()) else {
        return Err("usage: measure SOURCE SCRATCH [STEP...]".into());
    };
    let (source, scratch) = (PathBuf::from(source), PathBuf::from(scratch));
    let mut steps: Vec<String> = args.map(|step| step.to_string_lossy().into_owned()).collect();
    if steps.is_empty() {
        steps = ["ingest", "ingest", "verify", "gc", "checkout", "durable", "open"]
            .map(Into::into)
            .into();
    }
    std::fs::create_dir_all(&scratch)?;
    let started = Instant::now();
    let store = Store::open(&scratch.join("store"), StoreOptions::default())?;
    println!("open: {:.2?}", started.elapsed());
    for step in &steps {
        let started = Instant::now();
        let what = match step.as_str() {
            "ingest" => {
                let source = IngestSource::detect(&source)?;
                let report = store.ingest(&source, &IngestOptions::default(), &())?;
                format!(
                    "{} files ({} not opened), {} bytes, {} new, {} stored",
                    report.file_count,
                    report.files_unchanged,
                    report.bytes_total,
                    report.bytes_new,
                    report.stored_bytes
                )
            }
            "verify" => format!("clean: {}", store.verify(&())?.is_clean()),
            "gc" => format!("{:?}", store.gc(&GcOptions::default(), &Vec::new, &())?),
            "checkout" | "durable" => {
                let options = CheckoutOptions { force: false, durable: step == "durable" };
                let (baseline, dest) = (newest(&store)?, scratch.join(step));
                let root = TreePath::root();
                let report = store.checkout_baseline(baseline, &root, &dest, &options, &())?;
                format!("{report:?}")
            }
            "open" => format!("{:?}", store.stats()?),
            other => return Err(format!("no step is called '{other}'").into()),
        };
        println!("{step}: {:.2?}, {what}", started.elapsed());
    }
    Ok(())
}

fn newest(store: &Store) -> Result<BaselineId, Box<dyn std::error::Error>> {
    let baselines = store.baselines()?;
    Ok(baselines.last().ok_or("the store has no baseline")?.id)
}
