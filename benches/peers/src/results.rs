//! What was measured, as it is kept in the file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::questions::Metrics;

/// Question, case, contestant, round.
pub type Answers = BTreeMap<String, BTreeMap<String, BTreeMap<String, Vec<Option<Metrics>>>>>;

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    pub machine: BTreeMap<String, String>,
    pub versions: BTreeMap<String, String>,
    pub quick: bool,
    pub answers: Answers,
}

impl Results {
    /// # Errors
    /// If there is no such file, or it holds something else.
    pub fn load(path: &Path) -> Result<Self, String> {
        let text = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    pub fn save(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).expect("numbers and names");
        fs::write(path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))
    }

    pub fn rounds(&self, question: &str, case: &str, contestant: &str) -> &[Option<Metrics>] {
        let by_case = self.answers.get(question).and_then(|cases| cases.get(case));
        by_case
            .and_then(|answers| answers.get(contestant))
            .map_or(&[], Vec::as_slice)
    }

    /// The least, the median and the greatest of a figure.
    pub fn spread(
        &self,
        question: &str,
        case: &str,
        contestant: &str,
        metric: &str,
    ) -> Option<[f64; 3]> {
        let rounds = self.rounds(question, case, contestant);
        spread(
            rounds
                .iter()
                .flatten()
                .filter_map(|figures| figures.get(metric).copied()),
        )
    }

    pub fn median(
        &self,
        question: &str,
        case: &str,
        contestant: &str,
        metric: &str,
    ) -> Option<f64> {
        self.spread(question, case, contestant, metric)
            .map(|[_, median, _]| median)
    }

    /// The median of the ratios to another contestant in the same round.
    pub fn ratio(
        &self,
        question: &str,
        case: &str,
        [of, to]: [&str; 2],
        metric: &str,
    ) -> Option<f64> {
        let [of, to] = [of, to].map(|contestant| self.rounds(question, case, contestant));
        let figure = |round: &Option<Metrics>| round.as_ref()?.get(metric).copied();
        let ratios = of
            .iter()
            .zip(to)
            .filter_map(|(of, to)| Some(figure(of)? / figure(to)?));
        spread(ratios.filter(|ratio| ratio.is_finite())).map(|[_, median, _]| median)
    }
}

fn spread(figures: impl Iterator<Item = f64>) -> Option<[f64; 3]> {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let last = figures.len().checked_sub(1)?;
    Some([0, figures.len() / 2, last].map(|at| figures[at]))
}
