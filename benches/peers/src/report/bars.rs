//! A plot of horizontal bars.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::plots::{Axes, BLUE, GRAY, INK, Series};

const WIDTH: i32 = 900;
const ROW: i32 = 26;
const TOP: i32 = 46;
const BOTTOM: i32 = 50;
/// Where the bars begin and where the longest ends.
const LEFT: i32 = 230;
const RIGHT: i32 = 830;

pub fn draw(path: &Path, axes: &Axes, rows: &[Series<f64>]) -> Result<(), Box<dyn Error>> {
    let height = TOP + ROW * rows.len() as i32 + BOTTOM;
    let area = SVGBackend::new(path, (WIDTH as u32, height as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let text = |size: i32, horizontal: HPos| {
        let style = ("sans-serif", size).into_font().color(&INK);
        style.pos(Pos::new(horizontal, VPos::Center))
    };
    area.draw(&Text::new(
        axes.title,
        (WIDTH / 2, TOP / 2),
        text(17, HPos::Center),
    ))?;
    let most = rows
        .iter()
        .map(|row| row.figures)
        .fold(f64::MIN_POSITIVE, f64::max);
    let x = |figure: f64| LEFT + (f64::from(RIGHT - LEFT) * figure / most) as i32;
    let end = height - BOTTOM + 4;
    let step = step(most);
    for tick in (0..)
        .map(|n| f64::from(n) * step)
        .take_while(|tick| *tick <= most)
    {
        area.draw(&PathElement::new(
            [(x(tick), TOP), (x(tick), end)],
            INK.mix(0.15),
        ))?;
        area.draw(&Text::new(
            format!("{tick}"),
            (x(tick), end + 12),
            text(12, HPos::Center),
        ))?;
    }
    area.draw(&Text::new(
        axes.x,
        ((LEFT + RIGHT) / 2, end + 32),
        text(13, HPos::Center),
    ))?;
    for (n, row) in rows.iter().enumerate() {
        let top = TOP + ROW * n as i32 + 3;
        let middle = top + ROW / 2 - 3;
        let color = if row.color == BLUE {
            BLUE.mix(1.0)
        } else {
            GRAY.mix(0.55)
        };
        area.draw(&Rectangle::new(
            [(LEFT, top), (x(row.figures), top + ROW - 6)],
            color.filled(),
        ))?;
        area.draw(&Text::new(
            row.name,
            (LEFT - 8, middle),
            text(13, HPos::Right),
        ))?;
        let figure = format!("{:.*}", usize::from(row.figures < 100.0), row.figures);
        area.draw(&Text::new(
            figure,
            (x(row.figures) + 6, middle),
            text(12, HPos::Left),
        ))?;
    }
    area.draw(&PathElement::new([(LEFT, TOP), (LEFT, end)], INK))?;
    area.present()?;
    Ok(())
}

/// A round distance between four to ten ticks.
fn step(most: f64) -> f64 {
    let power = 10_f64.powf((most / 4.0).log10().floor());
    let fits = |factor: &f64| most / (power * factor) >= 4.0;
    power * [5.0, 2.0, 1.0].into_iter().find(fits).unwrap_or(1.0)
}
