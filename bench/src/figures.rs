//! Medians, percentiles, and tables in Markdown.

/// Returns the middle value. For an even number of values it is the upper one of the two middle
/// values.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    percentile(values, 0.5)
}

/// Returns the value below which this share of all values is.
pub(crate) fn percentile(values: impl IntoIterator<Item = f64>, share: f64) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// Writes a number. The larger it is, the fewer decimals it gets.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "–".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A table that is printed when it is complete.
pub(crate) struct Table {
    title: String,
    columns: usize,
    text: String,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>, columns: &[&str]) -> Self {
        let mut table = Self { title: title.into(), columns: columns.len(), text: String::new() };
        table.row(columns.iter().map(|column| (*column).to_owned()));
        table.row(columns.iter().enumerate().map(|(at, _)| if at == 0 { "---" } else { "---:" }));
        table
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl AsRef<str>>) {
        let cells: Vec<_> = cells.into_iter().map(|cell| cell.as_ref().to_owned()).collect();
        assert_eq!(cells.len(), self.columns, "every row has all columns: {cells:?}");
        self.text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }

    pub(crate) fn print(self) {
        println!("\n### {}\n\n{}", self.title, self.text);
    }
}

/// A table of goals: the figure that was reached, and the figure that is wanted.
pub(crate) struct Goals(Table);

impl Goals {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self(Table::new(title, &["goal", "reached", "wanted", ""]))
    }

    pub(crate) fn at_least(&mut self, name: &str, reached: f64, wanted: f64) {
        self.add(name, reached, format!("≥ {}", number(wanted)), reached >= wanted);
    }

    pub(crate) fn at_most(&mut self, name: &str, reached: f64, wanted: f64) {
        self.add(name, reached, format!("≤ {}", number(wanted)), reached <= wanted);
    }

    fn add(&mut self, name: &str, reached: f64, wanted: String, met: bool) {
        let verdict = if met { "met" } else { "**missed**" };
        self.0.row([name, &number(reached), &wanted, verdict]);
    }

    pub(crate) fn print(self) {
        self.0.print();
    }
}
