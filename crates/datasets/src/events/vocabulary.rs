//! The words, places and programs that `events` draws from.

/// With weights; their sum is [`EVENT_TYPES_TOTAL`].
pub(crate) const EVENT_TYPES: [(&str, u64); 12] = [
    ("page_view", 480),
    ("click", 180),
    ("scroll", 110),
    ("search", 70),
    ("product_view", 60),
    ("add_to_cart", 35),
    ("remove_from_cart", 10),
    ("checkout", 15),
    ("purchase", 12),
    ("login", 15),
    ("logout", 6),
    ("error", 7),
];
pub(crate) const EVENT_TYPES_TOTAL: u64 = 1000;

/// Code, currency and cities; the busiest first.
pub(crate) const COUNTRIES: [(&str, &str, &[&str]); 60] = [
    ("US", "USD", &["New York", "Los Angeles", "Chicago", "Houston", "Phoenix", "Seattle", "Boston", "Denver"]),
    ("DE", "EUR", &["Berlin", "Hamburg", "München", "Köln", "Leipzig"]),
    ("GB", "GBP", &["London", "Manchester", "Birmingham", "Glasgow", "Leeds"]),
    ("FR", "EUR", &["Paris", "Lyon", "Marseille", "Toulouse"]),
    ("IN", "INR", &["Mumbai", "Delhi", "Bengaluru", "Chennai", "Kolkata"]),
    ("BR", "BRL", &["São Paulo", "Rio de Janeiro", "Brasília"]),
    ("JP", "JPY", &["Tokyo", "Osaka", "Nagoya", "Sapporo"]),
    ("CA", "CAD", &["Toronto", "Montréal", "Vancouver"]),
    ("AU", "AUD", &["Sydney", "Melbourne", "Brisbane"]),
    ("IT", "EUR", &["Roma", "Milano", "Napoli", "Torino"]),
    ("ES", "EUR", &["Madrid", "Barcelona", "Valencia", "Sevilla"]),
    ("NL", "EUR", &["Amsterdam", "Rotterdam", "Utrecht"]),
    ("PL", "PLN", &["Warszawa", "Kraków", "Gdańsk", "Łódź"]),
    ("SE", "SEK", &["Stockholm", "Göteborg", "Malmö"]),
    ("MX", "MXN", &["Ciudad de México", "Guadalajara", "Monterrey"]),
    ("KR", "KRW", &["Seoul", "Busan", "Incheon"]),
    ("TR", "TRY", &["İstanbul", "Ankara", "İzmir"]),
    ("CH", "CHF", &["Zürich", "Genève", "Basel"]),
    ("AT", "EUR", &["Wien", "Graz", "Linz"]),
    ("BE", "EUR", &["Bruxelles", "Antwerpen", "Gent"]),
    ("DK", "DKK", &["København", "Aarhus"]),
    ("NO", "NOK", &["Oslo", "Bergen"]),
    ("FI", "EUR", &["Helsinki", "Tampere"]),
    ("PT", "EUR", &["Lisboa", "Porto"]),
    ("IE", "EUR", &["Dublin", "Cork"]),
    ("CZ", "CZK", &["Praha", "Brno"]),
    ("GR", "EUR", &["Athens", "Thessaloniki"]),
    ("RO", "RON", &["București", "Cluj-Napoca"]),
    ("HU", "HUF", &["Budapest", "Debrecen"]),
    ("UA", "UAH", &["Kyiv", "Lviv", "Odesa"]),
    ("AR", "ARS", &["Buenos Aires", "Córdoba"]),
    ("CL", "CLP", &["Santiago", "Valparaíso"]),
    ("CO", "COP", &["Bogotá", "Medellín"]),
    ("PE", "PEN", &["Lima"]),
    ("ZA", "ZAR", &["Johannesburg", "Cape Town"]),
    ("EG", "EGP", &["Cairo", "Alexandria"]),
    ("NG", "NGN", &["Lagos", "Abuja"]),
    ("KE", "KES", &["Nairobi"]),
    ("MA", "MAD", &["Casablanca", "Rabat"]),
    ("IL", "ILS", &["Tel Aviv", "Haifa"]),
    ("AE", "AED", &["Dubai", "Abu Dhabi"]),
    ("SA", "SAR", &["Riyadh", "Jeddah"]),
    ("ID", "IDR", &["Jakarta", "Surabaya"]),
    ("MY", "MYR", &["Kuala Lumpur", "Penang"]),
    ("SG", "SGD", &["Singapore"]),
    ("TH", "THB", &["Bangkok", "Chiang Mai"]),
    ("VN", "VND", &["Hanoi", "Ho Chi Minh City"]),
    ("PH", "PHP", &["Manila", "Cebu City"]),
    ("TW", "TWD", &["Taipei", "Kaohsiung"]),
    ("HK", "HKD", &["Hong Kong"]),
    ("NZ", "NZD", &["Auckland", "Wellington"]),
    ("SK", "EUR", &["Bratislava"]),
    ("SI", "EUR", &["Ljubljana"]),
    ("HR", "EUR", &["Zagreb", "Split"]),
    ("BG", "BGN", &["Sofia", "Plovdiv"]),
    ("RS", "RSD", &["Beograd"]),
    ("LT", "EUR", &["Vilnius"]),
    ("LV", "EUR", &["Riga"]),
    ("EE", "EUR", &["Tallinn"]),
    ("IS", "ISK", &["Reykjavík"]),
];

pub(crate) const CATEGORIES: [&str; 20] = [
    "tents",
    "sleeping-bags",
    "backpacks",
    "hiking-boots",
    "rain-jackets",
    "base-layers",
    "stoves",
    "water-filters",
    "headlamps",
    "climbing-ropes",
    "harnesses",
    "kayaks",
    "bicycles",
    "helmets",
    "skis",
    "snowshoes",
    "maps-and-guides",
    "trekking-poles",
    "hammocks",
    "first-aid",
];

pub(crate) const ADJECTIVES: [&str; 16] = [
    "ultralight",
    "waterproof",
    "compact",
    "rugged",
    "insulated",
    "foldable",
    "breathable",
    "reinforced",
    "alpine",
    "coastal",
    "nordic",
    "classic",
    "premium",
    "recycled",
    "quick-dry",
    "all-season",
];

pub(crate) const MATERIALS: [&str; 12] = [
    "merino",
    "ripstop",
    "titanium",
    "carbon",
    "aluminium",
    "canvas",
    "cordura",
    "down",
    "fleece",
    "bamboo",
    "silicone",
    "leather",
];

/// Sections of the site that are not products, for events without one.
pub(crate) const SECTIONS: [&str; 12] = [
    "home",
    "about-us",
    "stores/find",
    "help/shipping",
    "help/returns",
    "blog/archive",
    "blog/trail-reports",
    "sale",
    "new-arrivals",
    "gift-cards",
    "account/orders",
    "account/wishlist",
];

pub(crate) const SEARCH_WORDS: [&str; 32] = [
    "tent",
    "boots",
    "waterproof",
    "2",
    "person",
    "light",
    "winter",
    "jacket",
    "women",
    "men",
    "kids",
    "cheap",
    "best",
    "red",
    "blue",
    "size",
    "xl",
    "repair",
    "kit",
    "stove",
    "gas",
    "filter",
    "bottle",
    "map",
    "alps",
    "trail",
    "running",
    "shoes",
    "rope",
    "60m",
    "carbon",
    "poles",
];

/// Whole phrases, in scripts that a search over bytes gets wrong.
pub(crate) const SEARCH_PHRASES_UNICODE: [&str; 12] = [
    "zelt für zwei personen",
    "sac à dos léger",
    "chaussures de randonnée été",
    "палатка двухместная",
    "登山靴 防水",
    "防水ジャケット",
    "등산 배낭",
    "mochila de montaña niño",
    "śpiwór zimowy",
    "αδιάβροχο μπουφάν",
    "שק שינה",
    "🏕️ camping",
];

pub(crate) const REFERRERS: [&str; 10] = [
    "https://www.google.com/",
    "https://www.bing.com/",
    "https://duckduckgo.com/",
    "https://www.facebook.com/",
    "https://www.reddit.com/r/hiking/",
    "https://www.youtube.com/",
    "https://www.instagram.com/",
    "https://t.co/",
    "https://news.ycombinator.com/item",
    "https://mail.google.com/mail/u/0/",
];

pub(crate) const CAMPAIGNS: [&str; 14] = [
    "spring-sale-2025",
    "summer-trails",
    "newsletter-week-07",
    "newsletter-week-08",
    "newsletter-week-09",
    "retarget-cart",
    "retarget-view",
    "brand-search",
    "generic-search",
    "influencer-a",
    "influencer-b",
    "partner-alpine-club",
    "app-install",
    "winter-clearance",
];

pub(crate) const EXPERIMENTS: [&str; 9] = [
    "checkout-v2:control",
    "checkout-v2:treatment",
    "search-ranking-11:control",
    "search-ranking-11:a",
    "search-ranking-11:b",
    "hero-image:control",
    "hero-image:video",
    "free-shipping-bar:on",
    "free-shipping-bar:off",
];

pub(crate) const TAGS: [&str; 18] = [
    "new-visitor",
    "returning",
    "vip",
    "mobile-first",
    "cart",
    "promo",
    "slow-network",
    "beta",
    "bot-suspect",
    "gift",
    "bulk",
    "b2b",
    "loyalty",
    "coupon",
    "video",
    "a11y",
    "dark-mode",
    "offline",
];

pub(crate) const ERROR_CODES: [i32; 8] = [400, 401, 403, 404, 429, 500, 502, 503];

pub(crate) const DISCOUNTS: [f64; 6] = [0.05, 0.1, 0.15, 0.2, 0.25, 0.5];

/// How busy each hour of the day is.
pub(crate) const HOUR_WEIGHTS: [u64; 24] =
    [20, 14, 10, 8, 7, 9, 15, 26, 40, 50, 55, 58, 62, 60, 58, 56, 57, 60, 68, 78, 84, 76, 54, 35];

/// What a visitor uses: the columns that depend on each other.
pub(crate) struct Profile {
    pub device: &'static str,
    pub os: &'static str,
    pub browser: &'static str,
    pub user_agent: String,
    pub screens: &'static [(i32, i32)],
}

impl Profile {
    pub(crate) fn is_mobile(&self) -> bool {
        self.device == "phone"
    }
}

const DESKTOP_SCREENS: &[(i32, i32)] =
    &[(1920, 1080), (2560, 1440), (1366, 768), (1536, 864), (3840, 2160), (1440, 900)];
const PHONE_SCREENS: &[(i32, i32)] = &[(390, 844), (412, 915), (360, 800), (393, 852), (430, 932)];
const TABLET_SCREENS: &[(i32, i32)] = &[(820, 1180), (768, 1024), (1024, 1366), (800, 1280)];

/// About 200 profiles, each with a user agent of its own.
pub(crate) fn profiles() -> Vec<Profile> {
    const DESKTOPS: [(&str, &str); 4] = [
        ("Windows", "Windows NT 10.0; Win64; x64"),
        ("macOS", "Macintosh; Intel Mac OS X 10_15_7"),
        ("Linux", "X11; Linux x86_64"),
        ("ChromeOS", "X11; CrOS x86_64 14541.0.0"),
    ];
    const PHONES: [&str; 6] = ["Pixel 7", "Pixel 8 Pro", "SM-S911B", "SM-A546E", "SM-G991U", "moto g power (2023)"];
    const TABLETS: [&str; 2] = ["SM-X710", "Pixel Tablet"];
    const WEBKIT: &str = "AppleWebKit/537.36 (KHTML, like Gecko)";
    let mut profiles = Vec::new();
    let mut add = |device, os, browser, user_agent, screens| {
        profiles.push(Profile { device, os, browser, user_agent, screens });
    };
    for (os, platform) in DESKTOPS {
        for version in (118..=140).step_by(2) {
            let agent = format!("Mozilla/5.0 ({platform}) {WEBKIT} Chrome/{version}.0.0.0 Safari/537.36");
            add("desktop", os, "Chrome", agent, DESKTOP_SCREENS);
        }
    }
    for (os, platform) in &DESKTOPS[..3] {
        for version in (121..=139).step_by(2) {
            let agent = format!("Mozilla/5.0 ({platform}; rv:{version}.0) Gecko/20100101 Firefox/{version}.0");
            add("desktop", os, "Firefox", agent, DESKTOP_SCREENS);
        }
    }
    for (os, platform) in &DESKTOPS[..2] {
        for version in 131..=138 {
            let chrome = format!("Mozilla/5.0 ({platform}) {WEBKIT} Chrome/{version}.0.0.0 Safari/537.36");
            add("desktop", os, "Edge", format!("{chrome} Edg/{version}.0.0.0"), DESKTOP_SCREENS);
        }
    }
    for minor in 0..6 {
        let (_, platform) = DESKTOPS[1];
        let agent = format!(
            "Mozilla/5.0 ({platform}) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.{minor} Safari/605.1.15"
        );
        add("desktop", "macOS", "Safari", agent, DESKTOP_SCREENS);
    }
    for model in PHONES {
        for version in (124..=138).step_by(2) {
            let agent = format!(
                "Mozilla/5.0 (Linux; Android 14; {model}) {WEBKIT} Chrome/{version}.0.0.0 Mobile Safari/537.36"
            );
            add("phone", "Android", "Chrome", agent, PHONE_SCREENS);
        }
    }
    for model in &PHONES[2..5] {
        for version in 22..27 {
            let agent = format!(
                "Mozilla/5.0 (Linux; Android 13; SAMSUNG {model}) {WEBKIT} SamsungBrowser/{version}.0 Chrome/115.0.0.0 Mobile Safari/537.36"
            );
            add("phone", "Android", "Samsung Internet", agent, PHONE_SCREENS);
        }
    }
    for model in TABLETS {
        for version in 130..135 {
            let agent =
                format!("Mozilla/5.0 (Linux; Android 14; {model}) {WEBKIT} Chrome/{version}.0.0.0 Safari/537.36");
            add("tablet", "Android", "Chrome", agent, TABLET_SCREENS);
        }
    }
    for (device, os, hardware, screens) in
        [("phone", "iOS", "iPhone; CPU iPhone OS", PHONE_SCREENS), ("tablet", "iPadOS", "iPad; CPU OS", TABLET_SCREENS)]
    {
        for minor in 0..8 {
            let agent = format!(
                "Mozilla/5.0 ({hardware} 17_{minor} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.{minor} Mobile/15E148 Safari/604.1"
            );
            add(device, os, "Safari", agent, screens);
        }
    }
    profiles
}
