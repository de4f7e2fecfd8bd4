//! One iteration: register → log in → browse → order → rate → view the history → log out.
//!
//! Each operation may fail. Operations that depend on a failed one are skipped: without products nothing is ordered,
//! and without an order nothing is rated. A refused token ends the iteration, and the next one starts with a login.

use model::settings::Accounts;
use protocol::request::OrderItem;
use protocol::response::{Categories, Done, LoggedIn, OrderHistory, OrderPlaced, ProductAdded, Products, Registered};
use protocol::{ErrorCode, Request};

use crate::transport::ExchangeError;
use crate::workload::iteration_plan::IterationPlan;
use crate::workload::settings::Credentials;
use crate::workload::stop::WorkloadEnded;
use crate::workload::virtual_user::{VirtualUser, is_in_doubt};

/// Page size of the history: small, so that responses keep their size for virtual users that keep their account.
const HISTORY_ROWS: u32 = 5;
/// Stock of a product that is added because another is out of stock.
const RESTOCK_UNITS: i64 = 1000;

impl VirtualUser {
    /// Performs iteration number `iteration`.
    pub(super) async fn iterate(&mut self, iteration: u64) -> Result<(), WorkloadEnded> {
        let settings = &self.shared.settings;
        let plan = IterationPlan::new(settings.seed, &settings.client, self.user, iteration);
        self.choose_account(iteration);
        self.sign_in().await?;
        self.browse(&plan).await?;
        let items = plan.order(&self.page);
        if !items.is_empty() {
            self.buy(items, &plan, iteration).await?;
        }
        self.view_history().await?;
        self.sign_out().await
    }

    fn choose_account(&mut self, iteration: u64) {
        match self.shared.settings.workload.accounts {
            Accounts::Fresh => {
                self.account = self.shared.settings.account(self.user, iteration);
                self.registered = false;
                self.token = None;
            }
            // The account was registered before the measurement window.
            Accounts::Prepared => self.registered |= iteration == 0,
        }
    }

    /// Registers and logs in until it has a token.
    async fn sign_in(&mut self) -> Result<(), WorkloadEnded> {
        while self.token.is_none() {
            if self.registered {
                self.log_in().await?;
            } else {
                self.register().await?;
            }
        }
        Ok(())
    }

    async fn register(&mut self) -> Result<(), WorkloadEnded> {
        let Credentials { username, password } = self.account.clone();
        let result = self.attempt::<Registered>(&Request::Register { username, password }).await?;
        // The name is taken if only the response to an earlier attempt was lost, or if this shop has seen the seed.
        self.registered = result.is_ok() || refused_with(&result, ErrorCode::UsernameTaken);
        Ok(())
    }

    async fn log_in(&mut self) -> Result<(), WorkloadEnded> {
        let Credentials { username, password } = self.account.clone();
        let result = self.attempt::<LoggedIn>(&Request::Login { username, password }).await?;
        self.registered = !refused_with(&result, ErrorCode::WrongCredentials);
        self.token = result.ok().map(|logged_in| logged_in.token);
        Ok(())
    }

    async fn browse(&mut self, plan: &IterationPlan) -> Result<(), WorkloadEnded> {
        if let Ok(Categories { categories, .. }) = self.attempt(&Request::all_categories()).await? {
            self.products = categories.iter().map(|category| category.products).sum();
        }
        let page_size = self.shared.settings.workload.page_size.get();
        let page = plan.page(self.products, page_size);
        let request = Request::ViewProducts { category: None, page, page_size };
        if let Ok(Products { products, .. }) = self.attempt(&request).await? {
            self.page = products;
        }
        Ok(())
    }

    /// Orders, after adding a product if one is out of stock, and rates the first item.
    async fn buy(&mut self, items: Vec<OrderItem>, plan: &IterationPlan, iteration: u64) -> Result<(), WorkloadEnded> {
        let mut bought = items.first().map(|item| item.product_id);
        let mut result = self.order(items, iteration, "a").await?;
        if refused_with(&result, ErrorCode::OutOfStock)
            && let Some(added) = self.restock(iteration).await?
        {
            bought = Some(added);
            result = self.order(plan.order_of(added), iteration, "b").await?;
        }
        if let (Ok(order), Some(product_id)) = (result, bought) {
            self.rate(order.order_id, product_id, plan.stars).await?;
        }
        Ok(())
    }

    /// Orders, and repeats the order once with the same key if the response was lost.
    async fn order(
        &mut self,
        items: Vec<OrderItem>,
        iteration: u64,
        suffix: &str,
    ) -> Result<Result<OrderPlaced, ExchangeError>, WorkloadEnded> {
        let key = format!("{:016x}-{:06}-{iteration:07}{suffix}", self.shared.nonce, self.user);
        let token = self.token.clone().unwrap_or_default();
        let request = Request::PlaceOrder { token, items, idempotency_key: Some(key) };
        let mut result = self.attempt(&request).await?;
        if result.as_ref().is_err_and(is_in_doubt) {
            result = self.attempt(&request).await?;
        }
        self.forget_token_if_refused(&result);
        Ok(result)
    }

    async fn rate(&mut self, order_id: i64, product_id: i64, stars: u8) -> Result<(), WorkloadEnded> {
        let Some(token) = self.token.clone() else { return Ok(()) };
        let result = self.attempt::<Done>(&Request::SubmitRating { token, order_id, product_id, stars }).await?;
        self.forget_token_if_refused(&result);
        Ok(())
    }

    async fn view_history(&mut self) -> Result<(), WorkloadEnded> {
        let Some(token) = self.token.clone() else { return Ok(()) };
        let request = Request::ViewOrderHistory { token, page: 1, page_size: HISTORY_ROWS };
        let result = self.attempt::<OrderHistory>(&request).await?;
        self.forget_token_if_refused(&result);
        Ok(())
    }

    async fn sign_out(&mut self) -> Result<(), WorkloadEnded> {
        let Some(token) = self.token.take() else { return Ok(()) };
        // The result does not matter: the iteration ends, and the token is not used again.
        let _ = self.attempt::<Done>(&Request::Logout { token }).await?;
        Ok(())
    }

    fn forget_token_if_refused<T>(&mut self, result: &Result<T, ExchangeError>) {
        if refused_with(result, ErrorCode::InvalidToken) {
            self.token = None;
        }
    }

    /// Adds a product as administrator and returns its id; `None` without an administrator, or if it failed.
    async fn restock(&mut self, iteration: u64) -> Result<Option<i64>, WorkloadEnded> {
        let Some(token) = self.administrate().await? else { return Ok(None) };
        let request = Request::AddProduct {
            token,
            name: format!("Restocked {:06}-{iteration:07}", self.user),
            category: "Restocked".to_owned(),
            description: "Added by a virtual user because the stock ran out".to_owned(),
            price_cents: 999,
            stock: RESTOCK_UNITS,
        };
        let result = self.attempt::<ProductAdded>(&request).await?;
        if refused_with(&result, ErrorCode::InvalidToken) {
            self.admin_token = None;
        }
        Ok(result.ok().map(|added| added.product_id))
    }

    /// Returns the administrator's token, after a login if there is none yet.
    async fn administrate(&mut self) -> Result<Option<String>, WorkloadEnded> {
        if self.admin_token.is_none()
            && let Some(Credentials { username, password }) = self.shared.settings.admin.clone()
        {
            let result = self.attempt::<LoggedIn>(&Request::Login { username, password }).await?;
            self.admin_token = result.ok().map(|logged_in| logged_in.token);
        }
        Ok(self.admin_token.clone())
    }
}

fn refused_with<T>(result: &Result<T, ExchangeError>, code: ErrorCode) -> bool {
    matches!(result, Err(ExchangeError::Refused(body)) if body.code == code)
}
