//! Draws events and builds the columns of a batch.

use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int32Builder, Int64Builder,
    RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::error::ArrowError;

use super::draws::{Draws, mix};
use super::schema::events_schema;
use super::vocabulary as words;
use crate::parquet_file::BATCH_ROWS;

const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3600 * SECOND;
const DAY: u64 = 24 * HOUR;

/// 2025-01-01T00:00:00, in microseconds since the Unix epoch. The events are spread over the days that follow, however
/// many they are, so that a filter on the date prunes at any size.
const START: u64 = 20_089 * DAY;
const SPAN: u64 = 90 * DAY;

const USER_BITS: u64 = 24;
const PRODUCT_BITS: u64 = 16;

/// Users, products and sessions have draws of their own, apart from those of events (which are under 2^48).
const USER_STREAM: u64 = 1 << 60;
const PRODUCT_STREAM: u64 = 2 << 60;
const SESSION_STREAM: u64 = 3 << 60;

pub(crate) struct EventRows {
    seed: u64,
    rows: u64,
    profiles: Vec<words::Profile>,
}

impl EventRows {
    /// Of a table with so many `rows`.
    pub(crate) fn new(seed: u64, rows: u64) -> Self {
        Self { seed, rows, profiles: words::profiles() }
    }

    pub(crate) fn batch(&self, ids: Range<u64>) -> Result<RecordBatch, ArrowError> {
        let mut columns = Columns::default();
        // One allocation serves all texts.
        let mut text = String::with_capacity(256);
        for id in ids {
            self.append(id, &mut columns, &mut text);
        }
        RecordBatch::try_new(events_schema(), columns.finish())
    }

    fn append(&self, id: u64, columns: &mut Columns, text: &mut String) {
        let draws = &mut Draws::new(self.seed, id);
        let user_rank = draws.skewed(USER_BITS);
        let time = self.event_time(id, draws);
        let event_type = draws.weighted(&words::EVENT_TYPES, words::EVENT_TYPES_TOTAL);
        columns.event_id.append_value(id as i64);
        columns.event_time.append_value(time as i64);
        columns.event_date.append_value((time / DAY) as i32);
        // Odd multipliers permute the ids, so that popular users are not the ones with small numbers.
        columns.user_id.append_value((user_rank.wrapping_mul(0x5851_f42d) & 0xffff_ffff) as i64 + 1_000_000);
        self.append_session(user_rank, time, columns, text);
        columns.event_type.append_value(event_type);
        let currency = self.append_user(user_rank, columns);
        let product = self.append_commerce(event_type, currency, draws, columns);
        let campaign = draws.chance(180).then(|| draws.pick(&words::CAMPAIGNS));
        columns.campaign.append_option(campaign);
        let is_search = event_type == "search";
        self.append_search_phrase(is_search, draws, columns, text);
        self.append_page(is_search, product, campaign, draws, columns, text);
        self.append_behaviour(event_type, draws, columns, text);
    }

    /// In microseconds since the Unix epoch. Grows with the id, except for what clocks and networks do: neighbours may be
    /// swapped, and one in a hundred is up to ten minutes late.
    fn event_time(&self, id: u64, draws: &mut Draws) -> u64 {
        let even = (u128::from(id) * u128::from(SPAN) / u128::from(self.rows)) as u64;
        let mut time = even / DAY * DAY + busy_time(even % DAY);
        time += draws.below((2 * SPAN / self.rows).clamp(1, 10 * SECOND));
        if draws.chance(10) {
            time = time.saturating_sub(draws.below(600 * SECOND));
        }
        START + time.min(SPAN - 1)
    }

    /// The same for one user's events of the same half hour.
    fn append_session(&self, user_rank: u64, time: u64, columns: &mut Columns, text: &mut String) {
        let session = &mut Draws::new(self.seed, SESSION_STREAM ^ (mix(user_rank) >> 4) ^ (time / (HOUR / 2)));
        let (high, low) = (session.next(), session.next());
        text.clear();
        write_text(
            text,
            format_args!(
                "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
                high >> 32,
                (high >> 16) & 0xffff,
                high & 0xfff,
                (low >> 48) & 0xfff,
                low & 0xffff_ffff_ffff
            ),
        );
        columns.session_id.append_value(&*text);
    }

    /// What belongs to the user and not to the event; returns the currency.
    fn append_user(&self, user_rank: u64, columns: &mut Columns) -> &'static str {
        let user = &mut Draws::new(self.seed, USER_STREAM ^ user_rank);
        let profile = &self.profiles[(user.skewed(8) * 61 % self.profiles.len() as u64) as usize];
        let (width, height) = user.pick(profile.screens);
        columns.user_agent.append_value(&profile.user_agent);
        columns.device.append_value(profile.device);
        columns.os.append_value(profile.os);
        columns.browser.append_value(profile.browser);
        columns.screen_width.append_value(width);
        columns.screen_height.append_value(height);
        columns.is_mobile.append_value(profile.is_mobile());

        let (country, currency, cities) = words::COUNTRIES[(user.skewed(6) - 1) as usize % words::COUNTRIES.len()];
        let located = !user.chance(30);
        columns.country.append_option(located.then_some(country));
        let city = user.pick(cities);
        columns.city.append_option((located && !user.chance(150)).then_some(city));
        currency
    }

    /// Product, basket and money; returns the product, if there is one.
    fn append_commerce(
        &self,
        event_type: &str,
        currency: &str,
        draws: &mut Draws,
        columns: &mut Columns,
    ) -> Option<Product> {
        let in_basket = matches!(event_type, "add_to_cart" | "remove_from_cart" | "checkout" | "purchase");
        let on_product = in_basket || event_type == "product_view" || (event_type == "click" && draws.chance(400));
        let product = on_product.then(|| Product::new(self.seed, draws.skewed(PRODUCT_BITS)));
        let quantity = in_basket.then(|| draws.skewed(4) as i32);
        let discount = (in_basket && draws.chance(300)).then(|| draws.pick(&words::DISCOUNTS));
        let revenue = match (product, quantity) {
            (Some(product), Some(quantity)) if event_type == "purchase" => {
                // Discounts are whole percents; money is never computed in floating point.
                let percent = 100 - (discount.unwrap_or(0.0) * 100.0).round() as i128;
                Some(i128::from(product.price_cents) * i128::from(quantity) * percent / 100)
            }
            _ => None,
        };
        columns.product_id.append_option(product.map(|product| product.id));
        columns.category.append_option(product.map(|product| product.category));
        columns.quantity.append_option(quantity);
        columns.discount.append_option(discount);
        columns.revenue.append_option(revenue);
        columns.currency.append_option(revenue.map(|_| currency));
        product
    }

    /// Null where nothing was searched for, and sometimes empty instead: the two must not be confused.
    fn append_search_phrase(&self, is_search: bool, draws: &mut Draws, columns: &mut Columns, text: &mut String) {
        text.clear();
        if !is_search {
            let empty = draws.chance(100);
            columns.search_phrase.append_option(empty.then_some(""));
            return;
        }
        if draws.chance(120) {
            text.push_str(draws.pick(&words::SEARCH_PHRASES_UNICODE));
        } else if !draws.chance(60) {
            for word in 0..1 + draws.below(4) {
                text.push_str(if word == 0 { "" } else { " " });
                text.push_str(draws.pick(&words::SEARCH_WORDS));
            }
        }
        columns.search_phrase.append_value(&*text);
    }

    /// `page_url`, of 40 to 200 bytes, and `referrer`. Expects the search phrase in `text`.
    fn append_page(
        &self,
        is_search: bool,
        product: Option<Product>,
        campaign: Option<&str>,
        draws: &mut Draws,
        columns: &mut Columns,
        text: &mut String,
    ) {
        let phrase = if is_search && text.is_ascii() { text.replace(' ', "+") } else { "%E2%9C%93".to_owned() };
        text.clear();
        text.push_str(draws.pick(&[
            "https://www.pinecrest-outdoor.example",
            "https://shop.pinecrest-outdoor.example",
            "https://m.pinecrest-outdoor.example",
        ]));
        text.push_str(draws.pick(&["/en/", "/de/", "/fr/", "/es/", "/ja/"]));
        match product {
            Some(Product { id, category, adjective, material, .. }) => {
                write_text(text, format_args!("catalog/{category}/{adjective}-{material}-{category}-{id}?"));
            }
            None if is_search => write_text(text, format_args!("search?q={phrase}&page={}&", draws.skewed(4))),
            None => write_text(text, format_args!("{}?", draws.pick(&words::SECTIONS))),
        }
        write_text(text, format_args!("ref=nav-{}", draws.skewed(7)));
        if let Some(campaign) = campaign {
            write_text(text, format_args!("&utm_source=mail&utm_campaign={campaign}"));
        }
        if draws.chance(250) {
            write_text(text, format_args!("&click={:016x}", draws.next()));
        }
        columns.page_url.append_value(&*text);

        if draws.chance(350) {
            columns.referrer.append_null();
        } else if draws.chance(400) {
            columns.referrer.append_value(draws.pick(&words::REFERRERS));
        } else {
            text.clear();
            let (section, page) = (draws.pick(&words::CATEGORIES), draws.skewed(5));
            write_text(text, format_args!("https://www.pinecrest-outdoor.example/en/catalog/{section}?page={page}"));
            columns.referrer.append_value(&*text);
        }
    }

    fn append_behaviour(&self, event_type: &str, draws: &mut Draws, columns: &mut Columns, text: &mut String) {
        let timed = matches!(event_type, "page_view" | "product_view" | "scroll" | "search" | "checkout");
        columns.duration_ms.append_option((timed && !draws.chance(50)).then(|| draws.skewed(20) as i64));
        let scrolled = matches!(event_type, "page_view" | "product_view" | "scroll");
        columns.scroll_depth.append_option(scrolled.then(|| draws.below(1001) as f64 / 1000.0));
        let logged_in = draws.chance(400) || matches!(event_type, "login" | "purchase");
        columns.is_logged_in.append_option((!draws.chance(30)).then_some(logged_in));
        columns.experiment.append_option(draws.chance(450).then(|| draws.pick(&words::EXPERIMENTS)));
        columns.latency_us.append_value((500 + draws.below(2000) + draws.skewed(18)) as i64);
        let failed = event_type == "error" || draws.chance(8);
        columns.error_code.append_option(failed.then(|| draws.pick(&words::ERROR_CODES)));
        if draws.chance(400) {
            columns.tags.append_null();
            return;
        }
        text.clear();
        for tag in 0..1 + draws.below(5) {
            text.push_str(if tag == 0 { "" } else { "," });
            text.push_str(draws.pick(&words::TAGS));
        }
        columns.tags.append_value(&*text);
    }
}

/// The time of day at which the share `even / DAY` of a day's events has happened.
fn busy_time(even: u64) -> u64 {
    let total: u64 = words::HOUR_WEIGHTS.iter().sum();
    // In units of a microsecond times a weight; a day's worth is far below 2^64.
    let mut left = even * total;
    for (hour, weight) in words::HOUR_WEIGHTS.iter().enumerate() {
        let in_hour = weight * DAY;
        if left < in_hour {
            return hour as u64 * HOUR + left / (weight * 24);
        }
        left -= in_hour;
    }
    DAY - 1
}

/// A product, the same wherever it is drawn.
#[derive(Clone, Copy)]
struct Product {
    id: i64,
    category: &'static str,
    adjective: &'static str,
    material: &'static str,
    price_cents: u64,
}

impl Product {
    fn new(seed: u64, rank: u64) -> Self {
        let draws = &mut Draws::new(seed, PRODUCT_STREAM ^ rank);
        Self {
            id: (rank.wrapping_mul(0x9e35) & 0xffff) as i64 + 100_000,
            category: draws.pick(&words::CATEGORIES),
            adjective: draws.pick(&words::ADJECTIVES),
            material: draws.pick(&words::MATERIALS),
            price_cents: 199 + draws.skewed(17),
        }
    }
}

fn write_text(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string cannot fail");
}

/// Declares one builder for each column, in the order of the schema.
macro_rules! columns {
    ($($name:ident: $builder:ty = $new:expr,)*) => {
        struct Columns { $($name: $builder,)* }

        impl Default for Columns {
            fn default() -> Self {
                Self { $($name: $new,)* }
            }
        }

        impl Columns {
            fn finish(mut self) -> Vec<ArrayRef> {
                vec![$(Arc::new(self.$name.finish()),)*]
            }
        }
    };
}

/// `bytes` of text in a usual row.
fn strings(bytes: usize) -> StringBuilder {
    StringBuilder::with_capacity(BATCH_ROWS, BATCH_ROWS * bytes)
}

columns! {
    event_id: Int64Builder = Int64Builder::with_capacity(BATCH_ROWS),
    event_time: TimestampMicrosecondBuilder = TimestampMicrosecondBuilder::with_capacity(BATCH_ROWS),
    event_date: Date32Builder = Date32Builder::with_capacity(BATCH_ROWS),
    user_id: Int64Builder = Int64Builder::with_capacity(BATCH_ROWS),
    session_id: StringBuilder = strings(36),
    event_type: StringBuilder = strings(10),
    page_url: StringBuilder = strings(80),
    referrer: StringBuilder = strings(40),
    user_agent: StringBuilder = strings(110),
    country: StringBuilder = strings(2),
    city: StringBuilder = strings(8),
    device: StringBuilder = strings(7),
    os: StringBuilder = strings(7),
    browser: StringBuilder = strings(7),
    screen_width: Int32Builder = Int32Builder::with_capacity(BATCH_ROWS),
    screen_height: Int32Builder = Int32Builder::with_capacity(BATCH_ROWS),
    duration_ms: Int64Builder = Int64Builder::with_capacity(BATCH_ROWS),
    scroll_depth: Float64Builder = Float64Builder::with_capacity(BATCH_ROWS),
    revenue: Decimal128Builder = revenues(),
    currency: StringBuilder = strings(1),
    product_id: Int64Builder = Int64Builder::with_capacity(BATCH_ROWS),
    category: StringBuilder = strings(4),
    quantity: Int32Builder = Int32Builder::with_capacity(BATCH_ROWS),
    discount: Float64Builder = Float64Builder::with_capacity(BATCH_ROWS),
    search_phrase: StringBuilder = strings(2),
    campaign: StringBuilder = strings(4),
    is_mobile: BooleanBuilder = BooleanBuilder::with_capacity(BATCH_ROWS),
    is_logged_in: BooleanBuilder = BooleanBuilder::with_capacity(BATCH_ROWS),
    experiment: StringBuilder = strings(10),
    latency_us: Int64Builder = Int64Builder::with_capacity(BATCH_ROWS),
    error_code: Int32Builder = Int32Builder::with_capacity(BATCH_ROWS),
    tags: StringBuilder = strings(16),
}

fn revenues() -> Decimal128Builder {
    Decimal128Builder::with_capacity(BATCH_ROWS)
        .with_precision_and_scale(12, 2)
        .expect("12 and 2 are a precision and a scale that decimals have")
}
