//! Measures against values of scikit-learn, torchmetrics and pycocotools (`tests/python/make_metric_goldens.py`).

use edge_seg_export::eval::captions::{caption_measures, tag_measures, union_counts};
use edge_seg_export::eval::metric::Confusion;
use edge_seg_tests::root;
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
