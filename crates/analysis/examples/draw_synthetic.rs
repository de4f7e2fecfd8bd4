//! Draws the graphs of synthetic runs into a directory: `cargo run -p analysis --example draw_synthetic -- DIR`.
#![allow(clippy::print_stdout, reason = "an example prints its result")]

#[path = "../tests/suite/synthetic.rs"]
mod synthetic;

use std::error::Error;
use std::path::{Path, PathBuf};

use analysis::{CellInfo, Format, RunTitle, Verdict};
use model::SweptParameter;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from).ok_or("usage: draw_synthetic DIR")?;
    let sweep = synthetic::sweep(1, 600);
    draw(&directory.join("sweep"), &sweep)?;
    draw(&directory.join("repeated"), &synthetic::repeated_sweep(4, 300, 6))?;
    let mut with_issues = synthetic::sweep(2, 40);
    let severe = |info: &CellInfo| info.cell.repetition == 2 && info.cell.magnitude == 100.0;
    with_issues.cells.iter_mut().filter(|cell| severe(cell)).for_each(|cell| cell.verdict = Verdict::Unverified);
    with_issues
        .cells
        .iter_mut()
        .filter(|info| info.cell.swept_parameter == SweptParameter::Loss)
        .for_each(|cell| cell.verdict = Verdict::Unverified);
    with_issues.cells.iter_mut().filter(|info| info.cell.magnitude == 2.0).for_each(|cell| cell.overloaded = true);
    draw(&directory.join("issues"), &with_issues)?;
    let many = (0..12).map(|step| {
        let delay_ms = f64::from(step) * 25.0;
        let link = synthetic::Link { delay_ms, loss: 3.0, ..Default::default() };
        ((SweptParameter::Delay, format!("{delay_ms}ms"), delay_ms, 1), link)
    });
    draw(&directory.join("many"), &synthetic::run(3, 500, many.collect()))
}

fn draw(directory: &Path, run: &synthetic::Run) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(directory)?;
    let title =
        RunTitle { run_id: "20250301-101500-synthetic".to_owned(), line: "8 clients, netns, shaper".to_owned() };
    let analysis = run.analyse(1);
    for graph in analysis.graphs(&title)? {
        std::fs::write(directory.join(&graph.name).with_extension("png"), graph.png)?;
        std::fs::write(directory.join(&graph.name).with_extension("svg"), graph.svg)?;
    }
    println!("{}", analysis.table(Format::Table, None));
    Ok(())
}
