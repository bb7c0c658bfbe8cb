//! Texts that models make again: how many tokens of real ones come back.

use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::{Device, Kind, Reconstruct};
use waxwork_data::Split;
use waxwork_data::text::{from_rows, tokens};
use waxwork_eval::judging::Stages;
use waxwork_eval::{Metric, Protocol};

use crate::{Error, Result};

/// The share of the tokens of test texts, their ends among them, that their reconstructions have at the same place; nothing for other
/// kinds. The model is on `device`.
///
/// # Errors
/// If the texts cannot be read.
pub fn reconstructions(
    reconstructor: &dyn Reconstruct,
    test: &Split,
    device: &Device,
    protocol: &Protocol,
    stages: &mut Stages<'_>,
) -> Result<Option<Metric>> {
    let kind = test.kind();
    let Kind::Text { length, .. } = *kind else { return Ok(None) };
    let (mut right, mut all, mut done) = (0, 0, 0);
    for batch in test.batches(EVALUATION_BATCH, device)? {
        let batch = batch.map_err(Error::from)?;
        let made = reconstructor.reconstruct(&batch.inputs, &batch.condition)?;
        let [real, made] = [&batch.inputs, &made].map(|rows| from_rows(kind, rows));
        for (real, made) in tokens(&real?, length).iter().zip(&tokens(&made?, length)) {
            // Past the last token both have nothing, which is the end.
            let places = length.min(real.len() + 1);
            right += (0..places).filter(|place| real.get(*place) == made.get(*place)).count();
            all += places;
        }
        done += batch.len();
        stages("reading reconstructions", done, test.len());
    }
    let mut protocol = protocol.clone();
    protocol.insert("n_real".into(), test.len().to_string());
    protocol.insert("tokens".into(), "at their places, the end among them".into());
    Ok(Some(
        Metric::new("reconstruction_tokens", right as f64 / f64::max(all as f64, 1.0), &protocol).higher(),
    ))
}
