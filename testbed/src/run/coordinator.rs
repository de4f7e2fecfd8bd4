//! Shared state of all environments of a run: the cells still to measure, the rows of the others, and the manifest.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use model::sample::Sample;
use tokio_util::sync::CancellationToken;

use crate::run::admission::AdmissionControl;
use crate::run::progress::Progress;
use crate::run::request::RunRequest;
use crate::run::resume::{PriorResults, orders_are_consistent};
use crate::scenario::plan;
use crate::scenario::stopping_rule::StoppingRule;
use crate::store::cell_row::CellRow;
use crate::store::manifest::{ConditionControl, Manifest};
use crate::store::order_check::OrderCheck;
use crate::store::run_directory::RunDirectory;
use model::Cell;

/// Hands out the cells of a run, and owns its rows and its manifest.
pub(crate) struct Coordinator<'r> {
    /// The resolved run.
    pub(crate) request: &'r RunRequest,
    /// Results directory.
    pub(crate) directory: RunDirectory,
    /// The whole plan.
    pub(crate) cells: &'r [Cell],
    /// Progress display.
    pub(crate) progress: Progress,
    /// Decides when a further cell may start.
    pub(crate) admission: AdmissionControl,
    /// Cancelled by Ctrl-C or by a failure in any environment.
    pub(crate) stop: CancellationToken,
    /// Indices in the plan of the cells not started yet, in their order.
    pending: RefCell<VecDeque<usize>>,
    /// Rows so far, by index in the plan.
    rows: RefCell<BTreeMap<usize, CellRow>>,
    manifest: RefCell<Manifest>,
    stopping_rule: RefCell<StoppingRule>,
}

impl<'r> Coordinator<'r> {
    /// Creates the coordinator of a run. Cells with a row in the prior results are not measured again.
    pub(crate) fn new(
        request: &'r RunRequest,
        directory: RunDirectory,
        cells: &'r [Cell],
        manifest: Manifest,
        (prior_rows, prior_samples): PriorResults,
        stop: CancellationToken,
    ) -> Self {
        let index = |row: &CellRow| cells.iter().position(|cell| cell.id == row.cell);
        let rows: BTreeMap<usize, CellRow> =
            prior_rows.into_iter().filter_map(|row| Some((index(&row)?, row))).collect();
        let mut stopping_rule = StoppingRule::new(request.scenario.until, request.seed);
        for index in rows.keys() {
            let rows = prior_samples.iter().filter(|row| row.labels.cell == cells[*index].id);
            let of_cell: Vec<Sample> = rows.map(|row| row.sample.clone()).collect();
            stopping_rule.add_samples(&cells[*index], &of_cell);
        }
        let pending: VecDeque<usize> =
            plan::order(cells, request.seed).into_iter().filter(|index| !rows.contains_key(index)).collect();
        Self {
            progress: Progress::new(pending.len(), request.scenario.whole_duration()),
            stopping_rule: RefCell::new(stopping_rule),
            request,
            directory,
            cells,
            admission: AdmissionControl::default(),
            stop,
            pending: RefCell::new(pending),
            rows: RefCell::new(rows),
            manifest: RefCell::new(manifest),
        }
    }

    /// Returns the number of cells not started yet.
    pub(crate) fn left(&self) -> usize {
        self.pending.borrow().len()
    }

    /// Returns the next cell to measure. Skips cells that the stopping rule makes unnecessary.
    pub(crate) fn take_cell(&self) -> Option<&'r Cell> {
        loop {
            let cell = &self.cells[self.pending.borrow_mut().pop_front()?];
            if !self.stopping_rule.borrow().is_precise(cell) {
                return Some(cell);
            }
            self.progress.skip();
            let note = |manifest: &mut Manifest| manifest.skipped_cells.push(cell.id.clone());
            note(&mut self.manifest.borrow_mut());
        }
    }

    /// Gives the samples of a repetition to the stopping rule.
    pub(crate) fn add_samples(&self, cell: &Cell, samples: &[Sample]) {
        self.stopping_rule.borrow_mut().add_samples(cell, samples);
    }

    /// Adds the row of a cell and rewrites `cells.csv`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn add_row(&self, cell: &Cell, row: CellRow) -> anyhow::Result<()> {
        if let Some(index) = self.cells.iter().position(|planned| planned.id == cell.id) {
            self.rows.borrow_mut().insert(index, row);
        }
        self.directory.write_cells(&self.rows())
    }

    /// Returns all rows, in the order of the plan.
    pub(crate) fn rows(&self) -> Vec<CellRow> {
        self.rows.borrow().values().cloned().collect()
    }

    /// Returns whether all rows are verified, from a host that was not overloaded and a server that did not stall.
    pub(crate) fn are_all_cells_reliable(&self) -> bool {
        let info = |(index, row): (&usize, &CellRow)| row.info(self.cells[*index].clone(), &self.request.scenario);
        self.rows.borrow().iter().map(info).all(|info| info.is_reliable())
    }

    /// Changes the manifest without writing it.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Manifest)) {
        change(&mut self.manifest.borrow_mut());
    }

    /// Changes the manifest and writes it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, change: impl FnOnce(&mut Manifest)) -> anyhow::Result<()> {
        self.change(change);
        self.directory.write_manifest(&self.manifest.borrow())
    }

    /// Returns whether the order check ran and passed in all environments, and failed in no previous attempt. With an
    /// external server, whose database is not accessible, there is no order check.
    pub(crate) fn orders_are_consistent(&self) -> bool {
        let manifest = self.manifest.borrow();
        if manifest.condition_control == ConditionControl::Manual {
            return true;
        }
        let previous = manifest.previous_attempts.iter().all(orders_are_consistent);
        previous && !manifest.order_check_skipped && manifest.order_check.is_some_and(OrderCheck::has_passed)
    }

    /// Prints the result of the order check.
    pub(crate) fn report_order_check(&self) {
        let Some(order_check) = self.manifest.borrow().order_check else { return };
        let verdict = if order_check.has_passed() { "consistent" } else { "INCONSISTENT" };
        self.progress.line(&format!(
            "order check: {} acknowledged, {} stored; units: {} sold, {} ordered: {verdict}",
            order_check.acknowledged, order_check.stored, order_check.units_sold, order_check.units_ordered
        ));
    }
}
