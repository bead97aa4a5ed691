//! Medians and the Markdown tables.

use std::fmt::Write as _;
use std::path::Path;

use crate::Failure;
use crate::work::Work;

const BEGIN: &str = "<!-- overhead: begin -->\n";
const END: &str = "<!-- overhead: end -->\n";

/// One proxy in one round; times in µs.
pub(crate) struct Cell {
    /// CPU time of the proxy per request or event.
    pub(crate) cpu: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// One kind of work.
pub(crate) struct Row {
    pub(crate) work: Work,
    /// Without a proxy.
    pub(crate) direct: Vec<Cell>,
    /// The rounds of each proxy, in order; nginx first.
    pub(crate) proxies: Vec<Vec<Cell>>,
}

/// Memory of one proxy, in kB.
pub(crate) struct Memory {
    pub(crate) name: &'static str,
    /// Of one idle connection.
    pub(crate) connection: f64,
    /// Of the whole process after all work.
    pub(crate) end: u64,
}

impl Row {
    /// A row for so many proxies that holds no round yet.
    pub(crate) fn new(work: Work, proxies: usize) -> Self {
        let proxies = std::iter::repeat_with(Vec::new).take(proxies).collect();
        Self { work, direct: Vec::new(), proxies }
    }

    /// One figure of each proxy, as the median of its rounds, with the ratio to
    /// nginx as the median of the ratios round by round.
    fn line(&self, title: &str, figure: impl Fn(&Cell) -> f64) -> String {
        let figures = |cells: &Vec<Cell>| -> Vec<f64> { cells.iter().map(&figure).collect() };
        let base = self.proxies.first().map(figures).unwrap_or_default();
        let mut line = format!("| {title} |");
        for (number, cells) in self.proxies.iter().enumerate() {
            let each = figures(cells);
            let ratios = each.iter().zip(&base).map(|(own, base)| own / base).collect();
            let middle = median(each);
            let text = if number == 0 {
                format!(" {middle:.1} |")
            } else {
                format!(" {middle:.1} ({:.2} ×) |", median(ratios))
            };
            line.push_str(&text);
        }
        line
    }

    fn lines(&self) -> Vec<String> {
        let title = self.work.title();
        if self.work != Work::Latency {
            return vec![self.line(title, |cell| cell.cpu)];
        }
        // Of all rounds: the difference of two figures of one round is mostly noise.
        let direct = |pick: fn(&Cell) -> f64| median(self.direct.iter().map(pick).collect());
        let (p50, p99) = (direct(|cell| cell.p50), direct(|cell| cell.p99));
        let added =
            |name: &str, alone: f64| format!("{title}; µs added to {name} (direct {alone:.0})");
        vec![
            self.line(&added("p50", p50), |cell| cell.p50 - p50),
            self.line(&added("p99", p99), |cell| cell.p99 - p99),
        ]
    }
}

/// `a / b`, for figures that a float holds exactly enough.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(crate) fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

/// The whole result.
pub(crate) fn markdown(rows: &[Row], memory: &[Memory], rounds: usize) -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let day = jiff::Timestamp::now().strftime("%Y-%m-%d");
    let mut text = format!(
        "{day}, `benches/run.sh`: {rounds} rounds, {cores} cores; medians, and in brackets the \
         median of the ratios to nginx in the same round.\n\n"
    );
    let mut header = String::from("| Median |");
    let mut rule = String::from("|---|");
    for memory in memory {
        header.extend([" ", memory.name, " |"]);
        rule.push_str("---|");
    }
    let mut connection = String::from("| an idle keep-alive connection; kB |");
    let mut end = String::from("| resident memory after all this; MB |");
    for memory in memory {
        connection.push_str(&format!(" {:.1} |", memory.connection));
        end.push_str(&format!(" {:.0} |", ratio(memory.end, 1_024)));
    }
    let lines = rows.iter().flat_map(Row::lines);
    for line in [header, rule].into_iter().chain(lines).chain([connection, end]) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{line}");
    }
    text
}

/// Puts `text` into `benches/RESULTS.md`, in place of the one before.
pub(crate) fn write(text: &str) -> Result<(), Failure> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/RESULTS.md");
    let old = std::fs::read_to_string(&file)?;
    let (before, rest) = old.split_once(BEGIN).ok_or("RESULTS.md has no begin marker")?;
    let (_, after) = rest.split_once(END).ok_or("RESULTS.md has no end marker")?;
    Ok(std::fs::write(&file, format!("{before}{BEGIN}{text}{END}{after}"))?)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    if values.len().is_multiple_of(2) {
        f64::midpoint(at(middle.saturating_sub(1)), at(middle))
    } else {
        at(middle)
    }
}
