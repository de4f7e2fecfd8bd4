//! Pages, categories and changes of the products in memory.

use super::*;
use protocol::response::{Categories, Product, ProductFound, Products as ProductsPage};

fn row(id: i64, category: &str) -> ProductRow {
    let name = format!("\"{id}\" ü");
    let (category, description) = (category.to_owned(), "line\u{7f}".to_owned());
    ProductRow { id, name, category, description, price_cents: 250, stock: 9, rating_sum: 0, rating_count: 0 }
}

fn cache() -> ProductCache {
    let cache = ProductCache::default();
    let added = vec![row(1, "b"), row(2, "a"), row(5, "b")];
    cache.publish(&HashMap::new(), added).unwrap();
    cache
}

fn page(cache: &ProductCache, category: Option<&str>, page: u32, page_size: u32) -> ProductsPage {
    let mut output = Vec::new();
    cache.read().append_page(category, Page { page, page_size }, &mut output).unwrap();
    serde_json::from_slice(&output).unwrap()
}

fn ids(page: &ProductsPage) -> Vec<i64> {
    page.products.iter().map(|product| product.product_id).collect()
}

#[test]
fn pages_have_the_rows_and_totals_of_all_products_or_of_one_category() {
    let cache = cache();
    let all = page(&cache, None, 2, 2);
    assert_eq!((ids(&all), all.page, all.page_size, all.total), (vec![5], 2, 2, 3));
    let one = page(&cache, Some("b"), 1, 20);
    assert_eq!((ids(&one), one.total), (vec![1, 5], 2));
    assert_eq!(ids(&page(&cache, None, 1_000_000, 100)), [0; 0]);
    let error = cache.read().append_page(Some("c"), Page { page: 1, page_size: 1 }, &mut Vec::new());
    assert!(matches!(error, Err(CommandError::Refused(error)) if error.code == ErrorCode::NotFound));
}

#[test]
fn categories_are_ordered_by_name_and_have_pages() {
    let mut output = Vec::new();
    cache().read().append_categories(Page { page: 2, page_size: 1 }, &mut output).unwrap();
    let page: Categories = serde_json::from_slice(&output).unwrap();
    assert_eq!((page.categories.len(), page.total), (1, 2));
    assert_eq!((page.categories[0].name.as_str(), page.categories[0].products), ("b", 2));
}

#[test]
fn the_json_of_a_product_is_that_of_its_type_after_every_change() {
    let cache = cache();
    for (sold, rating_sum, rating_count) in [(0, 0, 0), (3, 4, 1), (1, 5, 1), (0, 1, 1)] {
        cache.publish(&HashMap::from([(5, ProductChange { sold, rating_sum, rating_count })]), Vec::new()).unwrap();
        let mut output = Vec::new();
        cache.read().append_product(5, &mut output).unwrap();
        let ProductFound { product } = serde_json::from_slice(&output).unwrap();
        assert_eq!(serde_json::to_vec(&ProductFound { product }).unwrap(), output);
    }
    let Product { stock, rating_average, rating_count, .. } = &page(&cache, None, 1, 3).products[2];
    assert_eq!((*stock, *rating_average, *rating_count), (5, Some(10.0 / 3.0), 3));
}
