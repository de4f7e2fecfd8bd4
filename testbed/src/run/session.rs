//! What the labs of a run share: which cells are left, what came of the others, and the run's folder.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use shop_client::sample::Sample;
use tokio_util::sync::CancellationToken;

use super::RunRequest;
use super::audit::Audit;
use super::gate::Gate;
use super::precision::Precision;
use super::progress::Progress;
use super::resume::books_are_fine;
use crate::cell_row::CellRow;
use crate::manifest::Manifest;
use crate::plan::{self, Cell};
use crate::results::RunFolder;

/// A run under way.
pub(crate) struct Session<'r> {
    /// What was asked for.
    pub(crate) request: &'r RunRequest,
    /// Where results go.
    pub(crate) folder: RunFolder,
    /// The whole plan.
    pub(crate) cells: &'r [Cell],
    /// The display.
    pub(crate) progress: Progress,
    /// How many cells may be under way.
    pub(crate) gate: Gate,
    /// Ctrl-C, or the failure of a lab.
    pub(crate) stop: CancellationToken,
    /// Places in the plan of the cells that nobody has begun.
    waiting: RefCell<VecDeque<usize>>,
    /// The rows so far, by their place in the plan.
    rows: RefCell<BTreeMap<usize, CellRow>>,
    manifest: RefCell<Manifest>,
    precision: RefCell<Precision>,
}

impl<'r> Session<'r> {
    /// A run of all cells of the plan but those whose rows are there already, with their samples.
    pub(crate) fn new(
        request: &'r RunRequest,
        folder: RunFolder,
        cells: &'r [Cell],
        manifest: Manifest,
        (earlier, samples): (Vec<CellRow>, Vec<Sample>),
        stop: CancellationToken,
    ) -> Self {
        let place = |row: &CellRow| cells.iter().position(|cell| cell.id == row.cell);
        let rows: BTreeMap<usize, CellRow> = earlier.into_iter().filter_map(|row| Some((place(&row)?, row))).collect();
        let mut precision = Precision::new(request.scenario.until, request.seed);
        for place in rows.keys() {
            let of_cell: Vec<Sample> =
                samples.iter().filter(|sample| sample.cell == cells[*place].id).cloned().collect();
            precision.learn(&cells[*place], &of_cell);
        }
        let waiting: VecDeque<usize> =
            plan::order(cells, request.seed).into_iter().filter(|place| !rows.contains_key(place)).collect();
        Self {
            progress: Progress::new(waiting.len(), request.scenario.whole_duration()),
            precision: RefCell::new(precision),
            request,
            folder,
            cells,
            gate: Gate::default(),
            stop,
            waiting: RefCell::new(waiting),
            rows: RefCell::new(rows),
            manifest: RefCell::new(manifest),
        }
    }

    /// How many cells nobody has begun.
    pub(crate) fn left(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// The next cell to be measured; those of conditions that are known well enough are passed over.
    pub(crate) fn take_cell(&self) -> Option<&'r Cell> {
        loop {
            let cell = &self.cells[self.waiting.borrow_mut().pop_front()?];
            if !self.precision.borrow().is_enough(cell) {
                return Some(cell);
            }
            self.progress.pass_over();
            let note = |manifest: &mut Manifest| manifest.passed_over.push(cell.id.clone());
            note(&mut self.manifest.borrow_mut());
        }
    }

    /// What one more repetition shows of a condition.
    pub(crate) fn learn(&self, cell: &Cell, samples: &[Sample]) {
        self.precision.borrow_mut().learn(cell, samples);
    }

    /// Keeps a cell's row.
    pub(crate) fn keep(&self, cell: &Cell, row: CellRow) -> anyhow::Result<()> {
        if let Some(place) = self.cells.iter().position(|planned| planned.id == cell.id) {
            self.rows.borrow_mut().insert(place, row);
        }
        self.folder.write_cells(&self.rows())
    }

    /// All rows, in the plan's order.
    pub(crate) fn rows(&self) -> Vec<CellRow> {
        self.rows.borrow().values().cloned().collect()
    }

    /// Whether nothing casts doubt on any row.
    pub(crate) fn is_all_well(&self) -> bool {
        self.rows.borrow().values().all(|row| row.info(None, &self.request.scenario).is_sound())
    }

    /// Changes the manifest.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Manifest)) {
        change(&mut self.manifest.borrow_mut());
    }

    /// Changes the manifest and writes it.
    pub(crate) fn write(&self, change: impl FnOnce(&mut Manifest)) -> anyhow::Result<()> {
        self.note(change);
        self.folder.write_manifest(&*self.manifest.borrow())
    }

    /// Whether the books of all labs were checked and agree.
    pub(crate) fn books_agree(&self) -> bool {
        let manifest = self.manifest.borrow();
        let earlier = manifest.earlier_parts.iter().all(books_are_fine);
        earlier && !manifest.books_unchecked && manifest.audit.is_some_and(Audit::is_good)
    }

    /// Tells what came of the books.
    pub(crate) fn tell_books(&self) {
        let Some(audit) = self.manifest.borrow().audit else { return };
        let verdict = if audit.is_good() { "nothing is lost" } else { "THE BOOKS DISAGREE" };
        self.progress.line(&format!(
            "{} orders promised, {} kept; {} pieces sold, {} ordered: {verdict}",
            audit.promised, audit.orders, audit.sold, audit.ordered
        ));
    }
}
