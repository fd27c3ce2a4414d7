//! A plot of lines over two logarithmic axes, each named at its end.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::plots::{Axes, BLUE, GRAY, INK, Series};

const SIZE: (u32, u32) = (900, 480);
/// Room for the names at the right.
const NAMES: i32 = 210;
/// Between two names.
const APART: i32 = 16;

type Line = Series<Vec<(f64, f64)>>;

pub fn draw(path: &Path, axes: &Axes, lines: &[Line]) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (x, y) = (range(lines, |point| point.0), range(lines, |point| point.1));
    // All lines have figures for the same cases.
    let ticks = lines[0].figures.iter().map(|point| point.0).collect();
    let font = |size: i32| ("sans-serif", size).into_font().color(&INK);
    let mut chart = ChartBuilder::on(&area)
        .caption(axes.title, font(17))
        .margin(12)
        .margin_right(NAMES)
        .x_label_area_size(46)
        .y_label_area_size(66)
        .build_cartesian_2d(
            (x.0..x.1).log_scale().with_key_points(ticks),
            (y.0 * 0.8..y.1 * 1.2).log_scale().with_key_points(round(y)),
        )?;
    let mesh = &mut chart.configure_mesh();
    mesh.x_desc(axes.x)
        .y_desc(axes.y)
        .axis_desc_style(font(14))
        .label_style(font(12));
    mesh.light_line_style(WHITE)
        .bold_line_style(INK.mix(0.12))
        .axis_style(INK);
    mesh.x_label_formatter(&|x| format!("{x}"))
        .y_label_formatter(&|y| format!("{y}"))
        .draw()?;
    for line in lines {
        let style = line
            .color
            .stroke_width(if line.color == BLUE { 3 } else { 1 });
        let points = line.figures.iter().copied();
        if line.color == GRAY {
            chart.draw_series(DashedLineSeries::new(
                points.clone(),
                6,
                4,
                GRAY.stroke_width(2),
            ))?;
        } else {
            chart.draw_series(LineSeries::new(points.clone(), style))?;
        }
        chart.draw_series(points.map(|point| Circle::new(point, 3, line.color.filled())))?;
    }
    let ends = lines
        .iter()
        .filter_map(|line| Some((line, chart.backend_coord(line.figures.last()?))));
    let mut ends: Vec<_> = ends.collect();
    ends.sort_by_key(|(_, (_, y))| *y);
    let mut next = i32::MIN;
    for (line, (x, y)) in ends {
        let y = y.max(next);
        next = y + APART;
        let style = ("sans-serif", 13).into_font().color(&line.color);
        let style = style.pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(line.name, (x + 8, y), style))?;
    }
    area.present()?;
    Ok(())
}

/// The round figures in a range: 1, 2 or 5 times a power of ten.
fn round((least, most): (f64, f64)) -> Vec<f64> {
    let powers = (-3..9).map(|power| 10_f64.powi(power));
    let figures = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|factor| power * factor));
    figures
        .filter(|figure| (least * 0.8..most * 1.2).contains(figure))
        .collect()
}

/// From the least to the greatest.
fn range(lines: &[Line], of: impl Fn(&(f64, f64)) -> f64) -> (f64, f64) {
    let figures = lines.iter().flat_map(|line| &line.figures).map(of);
    figures.fold((f64::MAX, f64::MIN_POSITIVE), |(least, most), figure| {
        (least.min(figure), most.max(figure))
    })
}
