//! Items of the menu, which depend on the user.

use std::fmt;

use crate::menu::session::User;

/// An item of the menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    Register,
    LogIn,
    Browse,
    Order,
    Rate,
    History,
    ChangePassword,
    AddProduct,
    LogOut,
    Quit,
}

impl Choice {
    /// Returns the items for `user`; `None` without a login.
    pub(super) fn available(user: Option<&User>) -> Vec<Choice> {
        use Choice::{AddProduct, Browse, ChangePassword, History, LogIn, LogOut, Order, Quit, Rate, Register};
        match user {
            None => vec![LogIn, Register, Browse, Quit],
            Some(User { admin: false, .. }) => vec![Browse, Order, Rate, History, ChangePassword, LogOut, Quit],
            Some(_) => vec![Browse, Order, Rate, History, ChangePassword, AddProduct, LogOut, Quit],
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Choice::Register => "Register",
            Choice::LogIn => "Log in",
            Choice::Browse => "Browse by category",
            Choice::Order => "Order",
            Choice::Rate => "Rate a product",
            Choice::History => "My orders",
            Choice::ChangePassword => "Change password",
            Choice::AddProduct => "Add a product",
            Choice::LogOut => "Log out",
            Choice::Quit => "Quit",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_administrator_can_add_products_and_every_menu_can_be_left() {
        let user = |admin| User { name: "ann".to_owned(), token: String::new(), admin };
        for (user, adds) in [(None, false), (Some(user(false)), false), (Some(user(true)), true)] {
            let choices = Choice::available(user.as_ref());
            assert_eq!(choices.contains(&Choice::AddProduct), adds);
            assert_eq!(choices.last(), Some(&Choice::Quit));
        }
    }
}
