//! Measures against values of scikit-learn, torchmetrics and pycocotools (`tests/python/make_metric_goldens.py`), refinements against
//! torch and numpy (`tests/python/make_refinement_goldens.py`).

use edge_seg::{Background, Class, LabelMap, PatchGrid, Placement, UnitRows, WordBank};
use edge_seg_export::eval::captions::{caption_measures, tag_measures, union_counts};
use edge_seg_export::eval::metric::Confusion;
use edge_seg_export::eval::pamr::Pamr;
use edge_seg_model::{Scoring, score};
use edge_seg_tests::root;
use image::RgbImage;
use serde_json::Value;

fn golden(part: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(root().join("tests/data/metrics/golden.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()[part].as_array().unwrap().clone()
}

fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
}

fn near(found: Option<f64>, golden: &Value, what: &str) {
    match (found, golden.as_f64()) {
        (Some(a), Some(b)) => assert!((a - b).abs() < 1e-6, "{what}: {a} {b}"),
        (a, b) => assert_eq!(a, b, "{what}"),
    }
}

#[test]
fn segmentation_measures_are_theirs() {
    let cases = golden("segmentation");
    assert_eq!(cases.len(), 5);
    for (i, case) in cases.iter().enumerate() {
        let labels = case["labels"].as_u64().unwrap() as usize;
        let mut table = Confusion::new(labels - 1);
        for (truth, found) in numbers(&case["truth"]).into_iter().zip(numbers(&case["found"])) {
            if truth != 255 {
                table.add(truth, found, 1);
            }
        }
        for (truth, row) in case["confusion"].as_array().unwrap().iter().enumerate() {
            let ours: Vec<usize> = (0..labels).map(|found| table.count(truth, found) as usize).collect();
            assert_eq!(ours, numbers(row), "case {i}, row {truth}");
        }
        let measures = table.measures(true);
        let iou = case["iou"].as_array().unwrap();
        for (class, golden) in measures.per_class.iter().zip(iou) {
            near(class.iou, golden, &format!("case {i}, IoU of {}", class.label));
        }
        near(measures.pixel_accuracy, &case["accuracy"], &format!("case {i}, accuracy"));
        // The means over the classes that labels hold, and that labels or predictions hold.
        let mean = |values: Vec<f64>| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
        let held = |label: usize| (0..labels).any(|found| table.count(label, found) > 0);
        let theirs = (0..labels).filter(|l| held(*l)).map(|l| iou[l].as_f64().unwrap()).collect();
        near(measures.miou, &serde_json::json!(mean(theirs)), &format!("case {i}, mIoU"));
        near(measures.miou_any, &serde_json::json!(mean(iou.iter().filter_map(Value::as_f64).collect())), &format!("case {i}, mIoU any"));
    }
}

#[test]
fn masks_of_captions_are_theirs_and_empty_ones_count_as_nothing() {
    for (i, case) in golden("masks").iter().enumerate() {
        let truth: Vec<Option<bool>> = numbers(&case["truth"]).into_iter().map(|t| Some(t > 0)).collect();
        let found: Vec<u16> = numbers(&case["found"]).into_iter().map(|f| 3 * f as u16).collect();
        let [tp, fp, fnn] = union_counts(&truth, &found);
        let areas: Vec<u64> = numbers(&case["areas"]).into_iter().map(|a| a as u64).collect();
        assert_eq!([tp, tp + fp + fnn, tp + fnn, tp + fp], areas[..], "case {i}");
        let measures = caption_measures(&[[tp, fp, fnn]]).unwrap();
        near(Some(measures.caption_iou), &case["iou"], &format!("case {i}, IoU"));
    }
}

#[test]
fn tag_measures_are_theirs() {
    for (i, case) in golden("tags").iter().enumerate() {
        let shown = case["shown"].as_array().unwrap().iter().map(|s| s.as_bool().unwrap());
        let scores = case["scores"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap() as f32);
        let found = tag_measures(&shown.zip(scores).collect::<Vec<_>>(), 0.5);
        for (ours, name) in [
            (found.precision, "precision"),
            (found.recall, "recall"),
            (found.f1, "f1"),
            (found.accuracy, "accuracy"),
            (found.average_precision, "average_precision"),
        ] {
            near(ours, &case[name], &format!("case {i}, {name}"));
        }
    }
}

fn refinement(part: &str) -> Value {
    let text = std::fs::read_to_string(root().join("tests/data/metrics/refinement.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()[part].clone()
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|n| n.as_f64().unwrap() as f32).collect()
}

#[test]
fn masks_refined_by_pamr_are_those_of_torch() {
    let case = refinement("pamr");
    let size = |name: &str| case[name].as_u64().unwrap() as usize;
    let picture: Vec<f32> = floats(&case["picture"]).iter().map(|v| v / 255.0).collect();
    let mut masks = floats(&case["masks"]);
    let pamr = Pamr { iterations: size("iterations"), dilations: numbers(&case["dilations"]) };
    pamr.refine(&picture, &mut masks, size("height"), size("width"));
    for (i, (ours, theirs)) in masks.iter().zip(floats(&case["refined"])).enumerate() {
        assert!((ours - theirs).abs() < 1e-4, "value {i}: {ours} {theirs}");
    }
}

#[test]
fn borders_moved_by_the_guided_filter_are_those_of_numpy() {
    let case = refinement("guided");
    let size = |name: &str| case[name].as_u64().unwrap() as usize;
    let (rows, cols, dim) = (size("rows"), size("cols"), size("dim"));
    let grid = PatchGrid::new(rows, cols, dim, floats(&case["patches"]), vec![1.0; dim]).unwrap();
    let words = UnitRows::normalise("words", dim, floats(&case["words"])).unwrap();
    let classes: Vec<Class> = (0..words.rows()).map(|i| Class::word(i.to_string())).collect();
    let bank = WordBank::new(&classes, 0, words).unwrap();
    let scoring = Scoring::new(case["scale"].as_f64().unwrap() as f32, Some(0.0));
    let scores = score(&grid, &bank, scoring, Background::None).unwrap();
    // A frame of as many pixels as the filter's grid has cells, four along a patch: nothing is resized.
    let (width, height) = (4 * cols as u32, 4 * rows as u32);
    let scaled_px = (4 * width, 4 * height);
    let placement = Placement::of((width, height), scaled_px, scaled_px, 16);
    let bytes = numbers(&case["picture"]).into_iter().map(|v| v as u8).collect();
    let picture = RgbImage::from_raw(width, height, bytes).unwrap();
    let (refined, plain) = (LabelMap::refined(&scores, &placement, &picture).unwrap(), LabelMap::from_scores(&scores, &placement).unwrap());
    let as_numbers = |map: &LabelMap| map.labels.iter().map(|l| usize::from(*l)).collect::<Vec<_>>();
    assert_eq!(as_numbers(&plain), numbers(&case["unrefined"]));
    assert_ne!(refined, plain, "the filter moves something");
    let (theirs, margins) = (numbers(&case["labels"]), floats(&case["margins"]));
    assert!(margins.iter().filter(|m| **m > 1e-3).count() * 100 > margins.len() * 95, "few ties");
    for (i, ours) in as_numbers(&refined).into_iter().enumerate() {
        assert!(ours == theirs[i] || margins[i] < 1e-3, "pixel {i}: {ours} {} by {}", theirs[i], margins[i]);
    }
}
