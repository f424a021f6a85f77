//! What several pages show alike.

use shop_session::Cart;
use shop_web::extract::Consistency;
use shop_web::money::Cents;
use shop_web::photo::Photo;

use crate::error::Result;
use crate::inventory::Inventory;

/// One print in a cart, as the shop sells it now.
#[derive(Debug, Clone)]
pub(super) struct CartLineView {
    pub(super) product_id: i64,
    pub(super) quantity: u32,
    /// Nothing, if the print is no longer in the shop.
    pub(super) print: Option<PrintView>,
}

#[derive(Debug, Clone)]
pub(super) struct PrintView {
    pub(super) title: String,
    pub(super) artist: String,
    pub(super) price: Cents,
    pub(super) sum: Cents,
    pub(super) available: i64,
    pub(super) photo: Option<Photo>,
}

/// A cart with titles and prices.
#[derive(Debug, Clone)]
pub(super) struct CartView {
    pub(super) lines: Vec<CartLineView>,
    pub(super) total: Cents,
}

impl CartLineView {
    /// Why this line can't be bought as it is.
    pub(super) fn obstacle(&self) -> Option<&'static str> {
        match &self.print {
            None => Some("No longer in the shop"),
            Some(print) if print.available <= 0 => Some("Sold out"),
            Some(print) if print.available < i64::from(self.quantity) => Some("Fewer copies are left"),
            Some(_) => None,
        }
    }
}

impl CartView {
    pub(super) async fn of(cart: &Cart, inventory: &Inventory, consistency: &Consistency) -> Result<Self> {
        let ids: Vec<i64> = cart.lines.iter().map(|line| line.product_id).collect();
        let mut products = inventory.products(&ids, consistency).await?;
        let lines: Vec<CartLineView> = cart
            .lines
            .iter()
            .map(|line| CartLineView {
                product_id: line.product_id,
                quantity: line.quantity,
                print: products.remove(&line.product_id).map(|product| PrintView {
                    title: product.title,
                    artist: product.artist,
                    sum: Cents(product.price_cents.0.saturating_mul(i64::from(line.quantity))),
                    price: product.price_cents,
                    available: product.available,
                    photo: product.photo,
                }),
            })
            .collect();
        let total = lines
            .iter()
            .filter_map(|line| line.print.as_ref())
            .map(|print| print.sum)
            .sum();
        Ok(Self { lines, total })
    }

    pub(super) fn can_be_bought(&self) -> bool {
        !self.lines.is_empty() && self.lines.iter().all(|line| line.obstacle().is_none())
    }
}

/// An address as a form shows it, complete or not.
pub(super) struct AddressFields<'a> {
    pub(super) recipient: &'a str,
    pub(super) street: &'a str,
    pub(super) postcode: &'a str,
    pub(super) city: &'a str,
    pub(super) country: &'a str,
}

/// Where to go after a login: a path of this shop, whatever the address says.
pub(super) fn local_path(next: Option<&str>) -> &str {
    match next {
        Some(path)
            if path.starts_with('/') && !path[1..].starts_with(['/', '\\']) && !path.chars().any(char::is_control) =>
        {
            path
        }
        _ => "/",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_nowhere_but_into_the_shop() {
        assert_eq!(local_path(Some("/checkout?x=1")), "/checkout?x=1");
        for elsewhere in [
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "",
            "checkout",
            "/a\r\nb",
        ] {
            assert_eq!(local_path(Some(elsewhere)), "/", "{elsewhere:?}");
        }
        assert_eq!(local_path(None), "/");
    }
}
