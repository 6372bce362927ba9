//! What can be set from the command line: `--name value`, all of it numbers.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::numbers::{as_f64, whole};
use crate::street::{Asking, Copies, Setting};
use crate::trace::Habits;

/// The habits and the setting of a run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) habits: Habits,
    pub(crate) setting: Setting,
    /// Objects of mean size that a shelf has room for.
    pub(crate) shelf_objects: f64,
    /// Where the curve is drawn.
    pub(crate) plot: Option<PathBuf>,
    /// The largest neighbourhood of the curve.
    pub(crate) boxes_max: usize,
}

impl Options {
    /// Of a neighbourhood of so many boxes.
    pub(crate) fn of(boxes: usize) -> Self {
        let setting = Setting {
            asking: Asking::Filters,
            copies: Copies::Counted,
            neighbours_max: 64,
            gather_file: None,
            gather_minor: None,
            shelf_bytes: 0,
            uplink_mb_s: 2.5,
            lan_mb_s: 60.0,
            slow: 0.0,
            liars: 0.0,
            seed: 1,
        };
        let habits = Habits::of(boxes);
        let options = Self { habits, setting, shelf_objects: 250.0, plot: None, boxes_max: 1000 };
        options.sized()
    }

    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut pairs = Vec::new();
        while let Some(name) = words.next() {
            let value = words.next().with_context(|| format!("{name} needs a value"))?;
            pairs.push((name, value));
        }
        let boxes = pairs.iter().find(|(name, _)| name == "--boxes");
        let mut options = Self::of(boxes.map_or(Ok(30), |(_, value)| value.parse())?);
        for (name, value) in pairs {
            options.set(&name, &value).with_context(|| format!("{name} {value}"))?;
        }
        Ok(options.sized())
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        if name == "--plot" {
            self.plot = Some(value.into());
            return Ok(());
        }
        let number: f64 = value.parse()?;
        let (habits, setting) = (&mut self.habits, &mut self.setting);
        let count = || usize::try_from(whole(number));
        match name {
            "--boxes" => habits.boxes = count()?,
            "--boxes-max" => self.boxes_max = count()?,
            "--titles" => habits.titles = count()?,
            "--neighbours-max" => setting.neighbours_max = count()?,
            "--days" => habits.days = number,
            "--files-a-day" => habits.files_a_day = number,
            "--burst" => habits.burst = number,
            "--alpha" => habits.alpha = number,
            "--locality" => habits.locality = number,
            "--life-days" => habits.life_days = number,
            "--median-mib" => habits.median_mib = number,
            "--sigma" => habits.sigma = number,
            "--private" => habits.private = number,
            "--away" => habits.away = number,
            "--digests" => habits.digests = number,
            "--gather" => setting.gather_file = Some(Duration::from_secs_f64(number)),
            "--gather-minor" => setting.gather_minor = Some(Duration::from_secs_f64(number)),
            "--slow" => setting.slow = number,
            "--liars" => setting.liars = number,
            "--seed" => setting.seed = whole(number),
            "--shelf-objects" => self.shelf_objects = number,
            _ => bail!("there is no such option"),
        }
        Ok(())
    }

    /// With the size of the shelf that belongs to the sizes of the objects.
    pub(crate) fn sized(mut self) -> Self {
        self.setting.shelf_bytes = whole(self.shelf_objects * self.habits.mean_bytes());
        self
    }

    /// The same for another count of boxes.
    pub(crate) fn with_boxes(&self, boxes: usize) -> Self {
        let plain = Habits::of(boxes);
        let habits = Habits { boxes, titles: plain.titles, ..self.habits.clone() };
        Self { habits, ..self.clone() }
    }

    /// Share of all titles, in bytes, that all shelves together have room for.
    pub(crate) fn room(&self) -> f64 {
        let all = as_f64(self.habits.titles as u64) * self.habits.mean_bytes();
        as_f64(self.setting.shelf_bytes) * as_f64(self.habits.boxes as u64) / all
    }
}
