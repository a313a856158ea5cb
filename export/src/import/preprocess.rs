//! What a source says about its input: mean, deviation, filter, fit. Whatever it says is honoured or refused by name, and nothing is assumed.

use std::path::Path;

use edge_seg_bundle::{Fit, Interpolation};
use serde_json::Value;

use super::files::read_json;
use super::source::Source;
use crate::{Error, Result};

/// Channel means of CLIP's training pictures, in 0..1 (Radford et al. 2021).
const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// Channel deviations of CLIP's training pictures.
const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// What is done to a picture before the image tower sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Input {
    pub mean: [f32; 3],
    pub std: [f32; 3],
    pub interpolation: Interpolation,
    pub fit: Fit,
}

impl Input {
    /// CLIP's own, as OpenAI published it.
    pub(super) fn of_clip() -> Self {
        Self { mean: CLIP_MEAN, std: CLIP_STD, interpolation: Interpolation::Bicubic, fit: Fit::Grid }
    }

    /// What `given` says, `clip` or a file, or else what the source says; none if it says nothing. `fit` stands in for the source's own.
    ///
    /// # Errors
    /// [`Error::File`] for what cannot be read or honoured.
    pub(super) fn find(source: &Source, given: Option<&Path>, fit: Option<Fit>) -> Result<Option<Self>> {
        if let Some(path) = given {
            return Self::file(path, fit).map(|(input, _)| Some(input));
        }
        for (file, key) in [("processor_config.json", Some("image_processor")), ("preprocessor_config.json", None)] {
            if let Some(config) = source.json(file)? {
                let found = key.map_or(&config, |key| &config[key]);
                if found.is_object() {
                    return Self::hugging_face(&format!("{}/{file}", source.place), found, fit).map(Some);
                }
            }
        }
        match source.json("open_clip_config.json")? {
            Some(config) if config["preprocess_cfg"].is_object() => {
                Self::open_clip(&format!("{}/open_clip_config.json", source.place), &config["preprocess_cfg"], fit).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// What a file says, and the side of the input if it says that; `clip` stands for CLIP's own.
    ///
    /// # Errors
    /// [`Error::File`] for what cannot be read or honoured.
    pub(crate) fn file(path: &Path, fit: Option<Fit>) -> Result<(Self, Option<usize>)> {
        if path.as_os_str() == "clip" {
            return Ok((Self { fit: fit.unwrap_or(Fit::Grid), ..Self::of_clip() }, None));
        }
        let place = path.display().to_string();
        let config = read_json(path)?;
        let nested = ["image_processor", "preprocess_cfg"].into_iter().find(|key| config[*key].is_object());
        let found = nested.map_or(&config, |key| &config[key]);
        let input = match found["resize_mode"].is_string() {
            true => Self::open_clip(&place, found, fit),
            false => Self::hugging_face(&place, found, fit),
        }?;
        let side = |value: &Value| {
            let first = [value, &value["height"], &value["shortest_edge"], &value[0]].into_iter().find_map(Value::as_u64);
            first.and_then(|side| usize::try_from(side).ok())
        };
        Ok((input, side(&found["crop_size"]).or_else(|| side(&found["size"]))))
    }

    /// As Hugging Face's image processors say it.
    fn hugging_face(place: &str, config: &Value, fit: Option<Fit>) -> Result<Self> {
        let is_on = |key: &str| config[key].as_bool().unwrap_or(true);
        let (mut mean, mut std) = match is_on("do_normalize") {
            true => (three(place, config, &["image_mean", "mean"])?, three(place, config, &["image_std", "std"])?),
            false => ([0.0; 3], [1.0; 3]),
        };
        // The runtime takes v / 255; here v is scaled by another factor, or by none.
        let factor = match (is_on("do_rescale"), &config["rescale_factor"]) {
            (false, _) => 255.0,
            (true, Value::Null) => 1.0,
            (true, given) => {
                let factor = given.as_f64().filter(|f| f.is_finite() && *f > 0.0);
                255.0 * factor.ok_or_else(|| Error::file(place, "rescale_factor", "a positive number", given.to_string()))?
            }
        };
        if config["rescale_offset"] == true {
            return Err(Error::file(place, "rescale_offset", "false", "true"));
        }
        if (factor - 1.0).abs() > 1e-6 {
            mean = mean.map(|x| x / factor);
            std = std.map(|x| x / factor);
        }
        let size = &config["size"];
        let fit = match (size["height"].as_u64(), size["width"].as_u64()) {
            _ if fit.is_some() || !is_on("do_resize") => fit.unwrap_or(Fit::Grid),
            (Some(height), Some(width)) if height == width => Fit::Squash,
            (Some(height), Some(width)) => {
                return Err(Error::file(
                    place,
                    "size",
                    "a square, or --fit with what to do with pictures that are none",
                    format!("{height} x {width}"),
                ));
            }
            _ => Fit::Grid,
        };
        let filter = match &config["resample"] {
            Value::Null => None,
            Value::String(name) => Some(name.clone()),
            other => Some(other.to_string()),
        };
        Ok(Self { mean: mean.map(|x| x as f32), std: std.map(|x| x as f32), interpolation: interpolation(place, "resample", filter)?, fit })
    }

    /// As open_clip's `preprocess_cfg` says it.
    fn open_clip(place: &str, config: &Value, fit: Option<Fit>) -> Result<Self> {
        let fit = match config["resize_mode"].as_str().unwrap_or("shortest") {
            _ if fit.is_some() => fit.unwrap_or(Fit::Grid),
            "shortest" => Fit::Grid,
            "squash" => Fit::Squash,
            other => return Err(Error::file(place, "resize_mode", "shortest or squash, or --fit with one of the runtime's own", other)),
        };
        if let Some(mode) = config["mode"].as_str().filter(|m| *m != "RGB") {
            return Err(Error::file(place, "mode", "RGB", mode));
        }
        let [mean, std] = [["mean", "image_mean"], ["std", "image_std"]].map(|keys| three(place, config, &keys));
        let filter = config["interpolation"].as_str().map(str::to_owned);
        Ok(Self {
            mean: mean?.map(|x| x as f32),
            std: std?.map(|x| x as f32),
            interpolation: interpolation(place, "interpolation", filter)?,
            fit,
        })
    }
}

fn three(place: &str, config: &Value, keys: &[&str]) -> Result<[f64; 3]> {
    let found = keys.iter().map(|key| &config[*key]).find(|v| !v.is_null()).unwrap_or(&Value::Null);
    let numbers = found.as_array().map(|list| list.iter().filter_map(Value::as_f64).collect::<Vec<_>>());
    let numbers = numbers.and_then(|n| <[f64; 3]>::try_from(n).ok()).filter(|n| n.iter().all(|x| x.is_finite()));
    numbers.ok_or_else(|| Error::file(place, keys[0], "three numbers", found.to_string()))
}

fn interpolation(place: &str, key: &str, name: Option<String>) -> Result<Interpolation> {
    match name.as_deref() {
        Some("3" | "bicubic") => Ok(Interpolation::Bicubic),
        Some("2" | "bilinear") => Ok(Interpolation::Bilinear),
        other => Err(Error::file(place, key, "bicubic (3) or bilinear (2)", other.unwrap_or("none"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hugging_face(config: Value) -> Result<Input> {
        Input::hugging_face("x", &config, None)
    }

    #[test]
    fn what_is_done_to_a_picture_goes_into_mean_and_deviation() {
        let plain = json!({"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2], "resample": 3, "size": {"shortest_edge": 32}});
        let with = |key: &str, value: Value| {
            let mut config = plain.clone();
            config[key] = value;
            hugging_face(config)
        };
        let usual = hugging_face(plain.clone()).unwrap();
        assert_eq!(usual.mean, [0.5, 0.4, 0.3]);
        assert_eq!(with("rescale_factor", json!(1.0 / 255.0)).unwrap(), usual);
        let bare = with("do_normalize", json!(false)).unwrap();
        assert_eq!((bare.mean, bare.std), ([0.0; 3], [1.0; 3]));
        // (v / 127.5 - 0.5) / 0.2 for v = 255 is 7.5, and so it is by (v / 255 - mean) / std.
        let twice = with("rescale_factor", json!(1.0 / 127.5)).unwrap();
        assert!(((1.0 - twice.mean[0]) / twice.std[0] - 7.5).abs() < 1e-4, "{twice:?}");
        let none = with("do_rescale", json!(false)).unwrap();
        assert!(((1.0 - none.mean[0]) / none.std[0] - (255.0 - 0.5) / 0.2).abs() < 1e-1, "{none:?}");
        assert_eq!(with("size", json!({"height": 32, "width": 32})).unwrap().fit, Fit::Squash);
        for (key, value) in [
            ("size", json!({"height": 32, "width": 48})),
            ("resample", json!(1)),
            ("image_mean", json!([0.5, 0.5])),
            ("rescale_factor", json!(0)),
            ("rescale_offset", json!(true)),
        ] {
            let refused = with(key, value).unwrap_err().to_string();
            assert!(refused.contains(key), "{refused}");
        }
    }

    #[test]
    fn open_clips_words_for_it_are_honoured_or_refused() {
        let config =
            |mode: &str| json!({"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bilinear", "resize_mode": mode});
        assert_eq!(Input::open_clip("x", &config("squash"), None).unwrap().fit, Fit::Squash);
        assert_eq!(Input::open_clip("x", &config("shortest"), None).unwrap().interpolation, Interpolation::Bilinear);
        assert!(Input::open_clip("x", &config("longest"), None).unwrap_err().to_string().contains("--fit"));
    }
}
