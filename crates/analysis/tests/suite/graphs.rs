//! The encoded graphs: they can be decoded, have the documented size, and have ink in the areas of text and data.

use std::collections::HashSet;

use analysis::{Graph, RunTitle};
use model::SweptParameter;

struct Pixels {
    width: usize,
    height: usize,
    rgb: Vec<[u8; 3]>,
}

impl Pixels {
    fn decode(png: &[u8]) -> Pixels {
        let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        // Red, green, blue, and an alpha that is always opaque.
        let rgba = bytes[..info.buffer_size()].as_chunks::<4>().0;
        let rgb = rgba.iter().map(|[red, green, blue, _]| [*red, *green, *blue]).collect();
        Pixels { width: info.width as usize, height: info.height as usize, rgb }
    }

    /// Returns the pixels of the rectangle that differ clearly from the background.
    fn ink(&self, x: std::ops::Range<usize>, y: std::ops::Range<usize>) -> Vec<[u8; 3]> {
        let rows = self.rgb.chunks_exact(self.width).skip(y.start).take(y.len());
        let pixels = rows.flat_map(|row| row[x.clone()].iter().copied());
        pixels.filter(|pixel| pixel.iter().any(|channel| *channel < 200)).collect()
    }
}

/// Draws the graphs of the loss cells: seven graphs and the two overviews.
fn graphs() -> Vec<Graph> {
    let mut run = crate::synthetic::sweep(7, 300);
    run.cells.retain(|info| info.cell.swept_parameter == SweptParameter::Loss);
    run.samples.retain(|row| row.labels.condition == SweptParameter::Loss);
    let title = RunTitle { run_id: "20250301-101500".to_owned(), line: "8 clients, netns, shaper".to_owned() };
    run.analyse(1).graphs(&title).unwrap()
}

#[test]
fn graphs_have_their_size_and_ink_in_text_and_plot() {
    let graphs = graphs();
    let names: Vec<&str> = graphs.iter().map(|graph| graph.name.as_str()).collect();
    let expected = [
        "loss-latency-by-operation",
        "loss-latency",
        "loss-rtt",
        "loss-ecdf",
        "loss-errors",
        "loss-breakdown",
        "loss-breakdown-slowest",
        "overview",
        "overview-breakdown",
    ];
    assert_eq!(names, expected);
    for graph in &graphs {
        let pixels = Pixels::decode(&graph.png);
        let (width, height) = match graph.name.as_str() {
            "overview" => (1500, 900),
            // Seven panels in three rows; two panels in two rows.
            "loss-breakdown" | "loss-breakdown-slowest" => (1200, 940),
            "overview-breakdown" => (1200, 690),
            _ => (960, 600),
        };
        assert_eq!((pixels.width, pixels.height), (width, height), "{}", graph.name);
        let areas = [
            ("title", pixels.ink(20..width, 18..48), 400),
            ("footer", pixels.ink(20..width, height - 34..height), 200),
            ("plot", pixels.ink(80..width - 40, 150..height - 110), 1000),
        ];
        for (area, ink, min_pixels) in areas {
            assert!(ink.len() > min_pixels, "{}: {} inked pixels in the {area}", graph.name, ink.len());
        }
        let colors: HashSet<[u8; 3]> = pixels.ink(80..width - 40, 150..height - 110).into_iter().collect();
        assert!(colors.len() > 10, "{}: only {} colours in the plot", graph.name, colors.len());
        check_svg(graph, width, height);
    }
}

fn check_svg(graph: &Graph, width: usize, height: usize) {
    let (name, svg) = (&graph.name, &graph.svg);
    assert!(svg.starts_with(&format!("<svg width=\"{width}\" height=\"{height}\" viewBox=")), "{name}: {}", &svg[..80]);
    assert!(svg.trim_end().ends_with("</svg>"), "{name}");
    let expected: &[&str] = match name.as_str() {
        "loss-latency-by-operation" | "overview" => {
            &["Packet loss (%)", "Median latency of an operation (ms)", "view products", "submit rating"]
        }
        "loss-latency" => &["Packet loss (%)", "Latency of an operation (ms)", "median", "p95", "mean", "p99"],
        "loss-rtt" => &["Packet loss (%)", "RTT of a request (ms)", "median", "p95", "mean"],
        "loss-breakdown" => &["Packet loss: latency breakdown", "retransmission stalls", "place order"],
        "loss-breakdown-slowest" => &["Packet loss: latency breakdown, slowest 5 %", "round trips", "all operations"],
        "overview-breakdown" => &["Latency breakdown, all operations", "Packet loss, slowest 5 %", "TCP handshake"],
        "loss-ecdf" => &["Latency of an operation (ms)", "Successful operations (%)", "0 % (baseline)", "2 %"],
        _ => &["Packet loss (%)", "Failed operations (%)", "refused by the shop"],
    };
    for text in expected.iter().chain(&["run 20250301-101500"]) {
        assert!(svg.contains(text), "{name}: '{text}' is missing");
    }
}
