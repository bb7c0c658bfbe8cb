//! −log p of test texts under a model that can compute it exactly.

use waxwork_core::collective::Collective;
use waxwork_core::sharing::share;
use waxwork_core::{DType, Device, Exact};
use waxwork_data::text::tokens_of;
use waxwork_data::{Dataset, Split};

use super::language_model::{Score, per_token, sequences};
use super::{oracle, phrases};
use crate::extractor::{evaluation_batch, evaluation_batches};
use crate::report::{Metric, Protocol};
use crate::{Error, Result};

/// Mean −log p per token of test texts under a model. A model that misses some texts has a high value, even if all
/// texts that it draws are good.
pub const NLL_TEST: &str = "nll_test";

/// −log p per token of test texts in nats, for a model on `device` that draws at `temperature`, which is above 0. The
/// end of a text is a token. The processes of `collective` divide the texts among them, and all receive the result.
/// `progress` receives the number of texts done.
///
/// # Errors
/// If the samples are no texts, cannot be read, or do not fit the model.
pub fn nll_test(
    exact: &dyn Exact,
    temperature: f64,
    (test, device): (&Split, &Device),
    collective: &dyn Collective,
    mut progress: impl FnMut(usize),
) -> Result<Score> {
    let work = |number: usize| -> Result<Vec<f64>> {
        let batch = evaluation_batch(test, number, device)?;
        let logs = exact.log_probability(&batch, temperature)?.to_device(&Device::Cpu);
        let logs = logs.and_then(|logs| logs.to_dtype(DType::F64)?.to_vec1::<f64>());
        Ok(logs.map_err(waxwork_core::Error::from)?)
    };
    let mut logs = Vec::with_capacity(test.len());
    share(collective, evaluation_batches(test), work, |part: Vec<f64>| -> Result<()> {
        logs.extend(part);
        progress(logs.len());
        Ok(())
    })?;
    if logs.is_empty() {
        return Err(Error::TooFew { whose: "real", needed: 1, found: 0 });
    }
    let counts = sequences(test)?.into_iter().map(|text| text.len());
    Ok(per_token(&logs.iter().map(|log| -log).zip(counts).collect::<Vec<_>>()))
}

/// [`nll_test`] as a metric. Its floor is the value under the distribution that the texts were drawn from, if this is
/// known; under that of each text's class if the model is `conditional`.
///
/// # Errors
/// If texts cannot be read.
pub fn metric(
    score: Score,
    data: &Dataset,
    test: &Split,
    conditional: bool,
    protocol: &Protocol,
) -> Result<Metric> {
    let mut protocol = protocol.clone();
    protocol.insert("likelihood".into(), "exact".into());
    protocol.insert("mean".into(), "over all tokens; a text's end is a token".into());
    protocol.insert("interval".into(), "95 %, ± 1.96 standard errors over texts".into());
    protocol.insert("n_real".into(), test.len().to_string());
    let metric = score.metric(NLL_TEST, &protocol).lower();
    let truth = match &data.info.oracle {
        Some(oracle) => oracle::nll(oracle, &tokens_of(test)?).map(|nll| nll.mean),
        None => phrases::true_nll(data, test, conditional)?
            .map(|nll| nll * test.len() as f64 / score.tokens as f64),
    };
    Ok(match truth {
        Some(truth) => metric.floor(truth),
        None => metric,
    })
}
