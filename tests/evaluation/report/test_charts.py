"""Charts are well-formed SVG, stay inside the plot, and are correct at known points."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from worldsim.evaluation.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, ChartLine

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*lines: ChartLine, **options: bool) -> ElementTree.Element:
    chart = Chart(title="<t> & 'u'", x_label="x", y_label="y", lines=lines, **options)
    return ElementTree.fromstring(str(chart.svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def dots(svg: ElementTree.Element) -> list[tuple[float, float]]:
    return [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in svg.iter(f"{SVG}circle")]


def test_logarithmic_axes_put_equal_ratios_at_equal_distances() -> None:
    svg = drawn(ChartLine(label="a", points=((100, 1), (1000, 10), (10_000, 100))), is_log_x=True, is_log_y=True)
    (x0, y0), (x1, y1), (x2, y2) = dots(svg)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert LEFT < x0 < x2 < WIDTH - RIGHT and TOP < y2 < y0 < HEIGHT - BOTTOM
    labels = [text.text for text in svg.iter(f"{SVG}text")]
    assert "10,000" in labels and "100" in labels


def test_a_linear_axis_has_round_ticks_and_larger_values_are_higher() -> None:
    svg = drawn(ChartLine(label="a", points=((0, 17.9), (10, 29.9)), band=((17, 18), (29, 31))))
    (_, low), (_, high) = dots(svg)
    assert high < low
    assert {"20", "25", "30"} <= {text.text for text in svg.iter(f"{SVG}text")}
    (band,) = svg.iter(f"{SVG}polygon")
    assert len(band.attrib["points"].split()) == 4


@pytest.mark.parametrize("points", [((1, 5),), ((1, 0), (2, 0)), ((1, -3), (2, 4))])
def test_a_single_point_zeros_and_negatives_are_drawn(points: tuple[tuple[float, float], ...]) -> None:
    assert len(dots(drawn(ChartLine(label="a", points=points), is_log_x=True, is_log_y=True))) == len(points)


def test_text_is_escaped() -> None:
    chart = Chart(title="<t>", x_label="<x>", y_label="y", lines=(ChartLine(label="<b>&", points=((1, 2), (2, 3))),))
    assert "<t>" not in chart.svg and "<x>" not in chart.svg and "&lt;b&gt;&amp;: 2 at 1" in chart.svg
