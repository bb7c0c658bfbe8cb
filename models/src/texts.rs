//! Texts that models make again: how many tokens of real ones come back.

use waxwork_core::collective::Collective;
use waxwork_core::sharing::share;
use waxwork_core::{Device, Kind, Reconstruct};
use waxwork_data::Split;
use waxwork_data::text::{from_tensor, tokens};
use waxwork_eval::judging::Stages;
use waxwork_eval::{Metric, Protocol, evaluation_batch, evaluation_batches};

use crate::Result;

/// The share of the tokens of test texts, their ends among them, that their reconstructions have at the same place; nothing for other
/// kinds. The model is on `device`. The processes of `collective` share the texts.
///
/// # Errors
/// If the texts cannot be read.
pub fn reconstructions(
    reconstructor: &dyn Reconstruct,
    test: &Split,
    device: &Device,
    collective: &dyn Collective,
    protocol: &Protocol,
    stages: &mut Stages<'_>,
) -> Result<Option<Metric>> {
    let kind = test.kind();
    let Kind::Text { length, .. } = *kind else { return Ok(None) };
    let work = |number: usize| -> Result<Vec<f64>> {
        let batch = evaluation_batch(test, number, device)?;
        let (mut right, mut all) = (0, 0);
        let made = reconstructor.reconstruct(&batch.inputs, &batch.condition)?;
        let [real, made] = [&batch.inputs, &made].map(|texts| from_tensor(kind, texts));
        for (real, made) in tokens(&real?, length).iter().zip(&tokens(&made?, length)) {
            // Past the last token both have nothing, which is the end.
            let places = length.min(real.len() + 1);
            right += (0..places).filter(|place| real.get(*place) == made.get(*place)).count();
            all += places;
        }
        Ok(vec![right as f64, all as f64, batch.len() as f64])
    };
    let (mut right, mut all, mut done) = (0.0, 0.0, 0.0);
    share(collective, evaluation_batches(test), work, |counts: Vec<f64>| -> Result<()> {
        if let [more_right, more, texts] = counts[..] {
            right += more_right;
            all += more;
            done += texts;
        }
        stages("measuring reconstructions", done as usize, test.len());
        Ok(())
    })?;
    let mut protocol = protocol.clone();
    protocol.insert("n_real".into(), test.len().to_string());
    protocol.insert("tokens".into(), "at their places, the end among them".into());
    Ok(Some(Metric::new("reconstruction_tokens", right / f64::max(all, 1.0), &protocol).higher()))
}
