//! A training step of the adversarial families against the same networks and losses in PyTorch: both players' losses, and
//! the gradient of every weight, gradient penalties (by `autograd.grad(create_graph=True)` there) and spectral norm included.
//!
//! The numbers come from this script (torch 2.x, float64):
//! ```python
//! import math, torch, torch.nn.functional as F
//! torch.set_default_dtype(torch.float64)
//!
//! def wave(n, phase):                       # the same numbers on both sides
//!     return 0.4 * torch.sin(0.7 * torch.arange(n) + phase)
//!
//! class Net:
//!     """Tensors by our names, made when first asked for."""
//!     def __init__(self, spectral):
//!         self.p, self.u, self.next, self.spectral = {}, {}, {}, spectral
//!     def w(self, name, shape):
//!         return self.p.setdefault(name, torch.zeros(shape))
//!     def weight(self, name, shape):        # divided by its spectral norm in a spectral discriminator
//!         if not (self.spectral and name.startswith("discriminator")):
//!             return self.w(name + ".weight", shape)
//!         stored = self.w(name + ".weight_orig", shape)
//!         matrix = stored.flatten(1)
//!         u = self.u.setdefault(name, F.normalize(wave(shape[0], 5.0), dim=0))
//!         with torch.no_grad():
//!             v = F.normalize(matrix.t() @ u, dim=0)
//!             u = self.next[name] = F.normalize(matrix @ v, dim=0)
//!         return stored / (u @ matrix @ v)
//!     def linear(self, name, x, outputs):
//!         return F.linear(x, self.weight(name, (outputs, x.shape[1])), self.w(name + ".bias", (outputs,)))
//!     def conv(self, name, x, outputs, kernel, stride, padding, bias=True):
//!         weight = self.weight(name, (outputs, x.shape[1], kernel, kernel))
//!         return F.conv2d(x, weight, self.w(name + ".bias", (outputs,)) if bias else None, stride, padding)
//!     def conv_up(self, name, x, outputs, bias):
//!         weight = self.w(name + ".weight", (x.shape[1], outputs, 4, 4))
//!         return F.conv_transpose2d(x, weight, self.w(name + ".bias", (outputs,)) if bias else None, 2, 1)
//!     def norm(self, name, x, y):           # conditional where labels are given
//!         if y is None:
//!             weight, bias = self.w(name + ".weight", (x.shape[1],)), self.w(name + ".bias", (x.shape[1],))
//!             return F.batch_norm(x, None, None, weight, bias, True, eps=1e-5)
//!         shape = (y.shape[1], x.shape[1])
//!         weight, bias = y @ self.w(name + ".weight", shape), y @ self.w(name + ".bias", shape)
//!         return F.batch_norm(x, None, None, None, None, True, eps=1e-5) * weight[..., None, None] + bias[..., None, None]
//!
//! def block(net, name, x, activation):
//!     channels = x.shape[1]
//!     return x + net.conv(name + "conv2", activation(net.conv(name + "conv1", x, channels, 3, 1, 1)), channels, 3, 1, 1)
//!
//! def generator(net, case, z, y):
//!     channels = case["image"][0]
//!     by_norm = case["label"] == "projection" and case["kind"] != "tower"
//!     x = z if y is None or by_norm else torch.cat([z, y], 1)
//!     y = y if by_norm else None
//!     if case["kind"] == "mlp":
//!         x = F.relu(net.linear("generator.hidden.0", x, 5))
//!         return torch.tanh(net.linear("generator.output", x, math.prod(case["image"]))).view(-1, *case["image"])
//!     if case["kind"] == "tower":            # one halving
//!         x = F.relu(net.norm("generator.norm", net.linear("generator.project", x, 3 * 16).view(-1, 3, 4, 4), None))
//!         x = block(net, "generator.up.block0.", x, F.relu)
//!         return torch.tanh(net.conv_up("generator.up.0.conv", x, channels, True))
//!     if case["kind"] == "dcgan":
//!         x = net.linear("generator.project", x, 3 * 4).view(-1, 3, 2, 2)
//!         x = F.relu(net.norm("generator.norm", x, y))
//!         x = F.relu(net.norm("generator.up.0.norm", net.conv_up("generator.up.0.conv", x, 2, False), y))
//!         return torch.tanh(net.conv_up("generator.up.1.conv", x, channels, True))
//!     x = net.linear("generator.project", x, 3 * 4).view(-1, 3, 2, 2)
//!     for i in range(2):
//!         name = f"generator.up.{i}."
//!         h = F.interpolate(F.relu(net.norm(name + "norm1", x, y)), scale_factor=2)
//!         h = F.relu(net.norm(name + "norm2", net.conv(name + "conv1", h, 3, 3, 1, 1), y))
//!         x = net.conv(name + "conv2", h, 3, 3, 1, 1) + net.conv(name + "shortcut", F.interpolate(x, scale_factor=2), 3, 1, 1, 0)
//!     return torch.tanh(net.conv("generator.output", F.relu(net.norm("generator.norm", x, y)), channels, 3, 1, 1))
//!
//! def discriminator(net, case, x, y):
//!     if case["label"] == "concatenation":
//!         x = torch.cat([x, y[..., None, None].expand(-1, -1, *x.shape[2:])], 1)
//!     if case["pack"] > 1:
//!         x = x.reshape(-1, case["pack"] * x.shape[1], *x.shape[2:])
//!     if case["kind"] == "mlp":
//!         h = F.leaky_relu(net.linear("discriminator.hidden.0", x.flatten(1), 5), 0.2)
//!     elif case["kind"] == "tower":
//!         leaky = lambda h: F.leaky_relu(h, 0.2)
//!         h = block(net, "discriminator.down.0.block0.", leaky(net.conv("discriminator.down.0.conv", x, 3, 4, 2, 1)), leaky)
//!         h = h.flatten(1)
//!     elif case["kind"] == "dcgan":
//!         normed = case["norm"] == "batch"
//!         h = F.leaky_relu(net.conv("discriminator.down.0.conv", x, 2, 4, 2, 1), 0.2)
//!         h = net.conv("discriminator.down.1.conv", h, 3, 4, 2, 1, bias=not normed)
//!         h = net.norm("discriminator.down.1.norm", h, None) if normed else h
//!         h = F.leaky_relu(h, 0.2).flatten(1)
//!     else:
//!         for i in range(3):
//!             name = f"discriminator.down.{i}."
//!             h = F.relu(net.conv(name + "conv1", x if i == 0 else F.relu(x), 4, 3, 1, 1))
//!             h = net.conv(name + "conv2", h, 4, 3, 1, 1)
//!             if i < 2:
//!                 x = net.conv(name + "shortcut", x, 4, 1, 1, 0)
//!                 h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
//!             x = h + x
//!         h = F.relu(x).sum((2, 3))
//!     logits = net.linear("discriminator.output", h, 1).squeeze(1)
//!     if case["label"] == "projection":
//!         logits = logits + (h * (y @ net.weight("discriminator.embedding", (y.shape[1], h.shape[1])))).sum(1)
//!     named = net.linear("discriminator.classifier", h, y.shape[1]) if case["label"] == "auxiliary-classifier" else None
//!     return logits, named
//!
//! def play(case):
//!     shape = case["image"]
//!     x = 2 * (0.5 + 0.5 * torch.sin(torch.arange(3 * math.prod(shape)) * 1.3).view(3, *shape)) - 1
//!     # What our generator draws for seed 4 at step 0: streams "latent" and "penalty".
//!     z = torch.tensor([[-1.0781889, 0.2931584], [1.2718502, 0.06513555], [-1.1545495, 1.0130216]])
//!     mix = torch.tensor([0.40272558, 0.513362, 0.67669505]).view(3, 1, 1, 1)
//!     labels = torch.tensor([1, 0, 2])
//!     y = F.one_hot(labels, 3).double() if case["label"] else None
//!     net = Net(case["norm"] == "spectral")
//!     discriminator(net, case, generator(net, case, z, y), y)
//!     for i, name in enumerate(sorted(net.p)):
//!         offset = 1.0 if "norm" in name and name.endswith("weight") else 0.0
//!         net.p[name] = (wave(net.p[name].numel(), i).view(net.p[name].shape) + offset).requires_grad_()
//!     def gradients(loss, player):
//!         names = [n for n in sorted(net.p) if n.startswith(player)]
//!         return dict(zip(names, torch.autograd.grad(loss, [net.p[n] for n in names])))
//!     fake = generator(net, case, z, y)
//!     (on_real, named), (on_fake, _) = discriminator(net, case, x, y), discriminator(net, case, fake.detach(), y)
//!     n = len(on_real)
//!     s, bce = case["smoothing"], F.binary_cross_entropy_with_logits
//!     d = {"bce": lambda: bce(on_real, torch.full((n,), 1.0 - s)) + bce(on_fake, torch.zeros(n)),
//!          "least-squares": lambda: 0.5 * (on_real - 1).square().mean() + 0.5 * on_fake.square().mean(),
//!          "hinge": lambda: F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean(),
//!          "wasserstein": lambda: on_fake.mean() - on_real.mean(),
//!          "relativistic": lambda: F.softplus(on_fake - on_real).mean()}[case["game"]]()
//!     if named is not None:
//!         d = d + 0.5 * F.cross_entropy(named, labels)
//!     between = fake.detach() + mix * (x - fake.detach())
//!     for at in {None: [], "r1": [x], "r1-r2": [x, fake.detach()], "gradient": [between]}[case["penalty"]]:
//!         at = at.clone().requires_grad_()
//!         out = discriminator(net, case, at, y)[0]
//!         slope, = torch.autograd.grad(out.sum(), at, create_graph=True)
//!         squares = slope.reshape(n, -1).square().sum(1)
//!         d = d + (10 * (squares.sqrt() - 1).square().mean() if case["penalty"] == "gradient" else 0.5 * case["weight"] * squares.mean())
//!     d_gradients = gradients(d, "discriminator")
//!     for name, gradient in d_gradients.items():
//!         net.p[name] = (net.p[name] - gradient).detach().requires_grad_()
//!     net.u = dict(net.next)
//!     on_fake, named = discriminator(net, case, fake, y)
//!     on_real = discriminator(net, case, x, y)[0]
//!     g = {"bce": lambda: bce(on_fake, torch.ones(n)), "least-squares": lambda: 0.5 * (on_fake - 1).square().mean(),
//!          "hinge": lambda: -on_fake.mean(), "wasserstein": lambda: -on_fake.mean(),
//!          "relativistic": lambda: F.softplus(on_real - on_fake).mean()}[case["game"]]()
//!     if named is not None:
//!         g = g + 0.5 * F.cross_entropy(named, labels)
//!     print(f'        losses: ({d.item():.9e}, {g.item():.9e}),\n        gradients: &[')
//!     for name, gradient in sorted({**d_gradients, **gradients(g, "generator")}.items()):
//!         print(f'            {(gradient.flatten() * wave(gradient.numel(), 9)).sum().item():.9e}, // {name}')
//!     print("        ],")
//!
//! grey, rgb = (1, 8, 8), (3, 8, 8)
//! for case in [
//!     dict(image=grey, kind="mlp", norm="none", label=None, game="least-squares", smoothing=0, penalty=None),
//!     dict(image=grey, kind="dcgan", norm="batch", label=None, game="bce", smoothing=0.1, penalty=None),
//!     dict(image=rgb, kind="dcgan", norm="spectral", label=None, game="wasserstein", smoothing=0, penalty="gradient"),
//!     dict(image=rgb, kind="residual", norm="spectral", label=None, game="hinge", smoothing=0, penalty="r1"),
//!     dict(image=grey, kind="dcgan", norm="batch", label="concatenation", game="bce", smoothing=0, penalty=None),
//!     dict(image=grey, kind="mlp", norm="none", label="concatenation", game="wasserstein", smoothing=0, penalty="gradient"),
//!     dict(image=rgb, kind="residual", norm="spectral", label="projection", game="hinge", smoothing=0, penalty="gradient"),
//!     dict(image=grey, kind="dcgan", norm="spectral", label="auxiliary-classifier", game="bce", smoothing=0, penalty=None),
//!     dict(image=rgb, kind="tower", norm="none", label=None, game="relativistic", smoothing=0, penalty="r1-r2", weight=1e-3),
//!     dict(image=rgb, kind="tower", norm="none", label="projection", game="relativistic", smoothing=0, penalty="r1-r2", weight=1e-3),
//!     dict(image=grey, kind="dcgan", norm="none", label=None, game="bce", smoothing=0, penalty="r1", pack=3),
//! ]:
//!     case = dict(pack=1, weight=0.7) | case
//!     print(f'    Case {{ // {case}')
//!     play(case)
//!     print("    },")
//! ```

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail where it stands")]

use std::collections::BTreeMap;

use waxwork_core::optim::OptimizerConfig;
use waxwork_core::params::Kind;
use waxwork_core::{
    Batch, Condition, DType, Device, GenerativeModel, ImageShape, ParamSet, Tensor, TrainingState,
};
use waxwork_models::ModelConfig;

/// A network and a game, and what PyTorch says about its first step.
struct Case {
    channels: usize,
    model: &'static str,
    /// The discriminator's, and the generator's against the updated discriminator.
    losses: (f64, f64),
    /// The product of each weight's gradient with `wave(9)`, in name order.
    gradients: &'static [f64],
}

const CASES: &[Case] = &[
    Case {
        channels: 1,
        model: r#"
family="gan"
generator={kind="mlp",hidden=[5]}
discriminator={kind="mlp",hidden=[5]}
loss="least-squares"
"#,
        losses: (1.169495608e+00, 7.079270156e+00),
        gradients: &[
            -2.533111954e-01, // discriminator.hidden.0.bias
            -7.240706421e-01, // discriminator.hidden.0.weight
            2.286733325e-02,  // discriminator.output.bias
            1.304796752e+00,  // discriminator.output.weight
            5.221107856e-01,  // generator.hidden.0.bias
            1.252868734e-01,  // generator.hidden.0.weight
            -7.669439339e+00, // generator.output.bias
            3.160520232e-02,  // generator.output.weight
        ],
    },
    Case {
        channels: 1,
        model: r#"
family="gan"
generator={kind="dcgan",channels=[3,2]}
discriminator={kind="dcgan",channels=[2,3],norm="batch"}
label_smoothing=0.1
"#,
        losses: (1.373542723e+00, 1.554623041e+00),
        gradients: &[
            -2.629419710e-02, // discriminator.down.0.conv.bias
            4.669173223e-01,  // discriminator.down.0.conv.weight
            -4.022447717e-01, // discriminator.down.1.conv.weight
            3.097455873e-02,  // discriminator.down.1.norm.bias
            4.816166343e-02,  // discriminator.down.1.norm.weight
            4.602821161e-02,  // discriminator.output.bias
            -1.557472652e-01, // discriminator.output.weight
            -3.439293404e-03, // generator.norm.bias
            1.158103183e-02,  // generator.norm.weight
            8.682006755e-02,  // generator.project.bias
            -4.623092898e-02, // generator.project.weight
            1.534595304e-01,  // generator.up.0.conv.weight
            1.097402688e-03,  // generator.up.0.norm.bias
            -8.188832449e-03, // generator.up.0.norm.weight
            3.014265432e-03,  // generator.up.1.conv.bias
            4.331179335e-03,  // generator.up.1.conv.weight
        ],
    },
    Case {
        channels: 3,
        model: r#"
family="gan"
generator={kind="dcgan",channels=[3,2]}
discriminator={kind="dcgan",channels=[2,3],norm="spectral"}
loss="wasserstein"
penalty={kind="gradient",weight=10}
"#,
        losses: (1.909574636e+00, 3.141339612e-01),
        gradients: &[
            -4.844526365e-03, // discriminator.down.0.conv.bias
            2.500168683e+00,  // discriminator.down.0.conv.weight_orig
            -1.951774337e-02, // discriminator.down.1.conv.bias
            1.546120055e+00,  // discriminator.down.1.conv.weight_orig
            0.000000000e+00,  // discriminator.output.bias
            -7.345089546e-01, // discriminator.output.weight_orig
            -2.382950476e-02, // generator.norm.bias
            -1.452864795e-02, // generator.norm.weight
            -1.821861488e-01, // generator.project.bias
            4.819358052e-02,  // generator.project.weight
            1.798275589e-02,  // generator.up.0.conv.weight
            6.557584072e-02,  // generator.up.0.norm.bias
            6.940662964e-02,  // generator.up.0.norm.weight
            -9.148750613e-02, // generator.up.1.conv.bias
            -3.695533265e-01, // generator.up.1.conv.weight
        ],
    },
    Case {
        channels: 3,
        model: r#"
family="gan"
generator={kind="residual",channels=3,blocks=2}
discriminator={kind="residual",channels=4,blocks=3,norm="spectral"}
loss="hinge"
penalty={kind="r1",weight=0.7}
"#,
        losses: (2.830534258e+00, -1.046417425e+00),
        gradients: &[
            -6.046003249e-02, // discriminator.down.0.conv1.bias
            8.603987418e-03,  // discriminator.down.0.conv1.weight_orig
            -2.251981212e-01, // discriminator.down.0.conv2.bias
            -1.041996889e-02, // discriminator.down.0.conv2.weight_orig
            -2.251981212e-01, // discriminator.down.0.shortcut.bias
            -1.095870319e-02, // discriminator.down.0.shortcut.weight_orig
            3.974547796e-02,  // discriminator.down.1.conv1.bias
            3.148381158e-02,  // discriminator.down.1.conv1.weight_orig
            2.897263217e-01,  // discriminator.down.1.conv2.bias
            3.469446952e-17,  // discriminator.down.1.conv2.weight_orig
            2.897263217e-01,  // discriminator.down.1.shortcut.bias
            7.368122172e-01,  // discriminator.down.1.shortcut.weight_orig
            1.524130602e-01,  // discriminator.down.2.conv1.bias
            5.438836572e-02,  // discriminator.down.2.conv1.weight_orig
            2.058381715e-01,  // discriminator.down.2.conv2.bias
            1.114063913e-01,  // discriminator.down.2.conv2.weight_orig
            -1.648473941e-01, // discriminator.output.bias
            -3.439512795e-01, // discriminator.output.weight_orig
            -9.380314877e-03, // generator.norm.bias
            -2.609310468e-03, // generator.norm.weight
            8.534610215e-03,  // generator.output.bias
            -7.782863895e-02, // generator.output.weight
            -8.185511740e-02, // generator.project.bias
            7.903787463e-02,  // generator.project.weight
            1.054179199e-17,  // generator.up.0.conv1.bias
            1.574143173e-01,  // generator.up.0.conv1.weight
            -7.083863919e-19, // generator.up.0.conv2.bias
            2.740269993e-01,  // generator.up.0.conv2.weight
            -5.375132243e-02, // generator.up.0.norm1.bias
            -6.376951317e-02, // generator.up.0.norm1.weight
            -3.082372653e-02, // generator.up.0.norm2.bias
            -1.663091237e-02, // generator.up.0.norm2.weight
            -7.083863919e-19, // generator.up.0.shortcut.bias
            -2.054617093e-03, // generator.up.0.shortcut.weight
            3.271986226e-19,  // generator.up.1.conv1.bias
            -2.594218983e-02, // generator.up.1.conv1.weight
            -1.135627600e-18, // generator.up.1.conv2.bias
            9.468310177e-02,  // generator.up.1.conv2.weight
            -9.658085387e-03, // generator.up.1.norm1.bias
            -1.934560775e-03, // generator.up.1.norm1.weight
            -7.874769659e-03, // generator.up.1.norm2.bias
            7.298678024e-03,  // generator.up.1.norm2.weight
            -1.135627600e-18, // generator.up.1.shortcut.bias
            -9.396939868e-02, // generator.up.1.shortcut.weight
        ],
    },
    Case {
        channels: 1,
        model: r#"
family="cgan"
conditioning={kind="concatenation"}
generator={kind="dcgan",channels=[3,2]}
discriminator={kind="dcgan",channels=[2,3],norm="batch"}
"#,
        losses: (1.591520761e+00, 1.011013113e+00),
        gradients: &[
            1.843703103e-03,  // discriminator.down.0.conv.bias
            -2.342944074e-01, // discriminator.down.0.conv.weight
            -1.380702499e-01, // discriminator.down.1.conv.weight
            -1.636944177e-02, // discriminator.down.1.norm.bias
            -2.993351061e-02, // discriminator.down.1.norm.weight
            2.985428131e-02,  // discriminator.output.bias
            -3.591239021e-01, // discriminator.output.weight
            3.528999322e-03,  // generator.norm.bias
            8.552750928e-03,  // generator.norm.weight
            2.151164235e-03,  // generator.project.bias
            -4.047920638e-02, // generator.project.weight
            1.385872078e-02,  // generator.up.0.conv.weight
            -5.173859510e-03, // generator.up.0.norm.bias
            -6.270391853e-03, // generator.up.0.norm.weight
            -3.196532268e-03, // generator.up.1.conv.bias
            1.882976549e-03,  // generator.up.1.conv.weight
        ],
    },
    Case {
        channels: 1,
        model: r#"
family="cgan"
conditioning={kind="concatenation"}
generator={kind="mlp",hidden=[5]}
discriminator={kind="mlp",hidden=[5]}
loss="wasserstein"
penalty={kind="gradient",weight=10}
"#,
        losses: (5.508157155e+00, 1.435067527e+01),
        gradients: &[
            1.985101553e-03,  // discriminator.hidden.0.bias
            2.475140901e-01,  // discriminator.hidden.0.weight
            0.000000000e+00,  // discriminator.output.bias
            -4.771305119e+00, // discriminator.output.weight
            -1.220532329e+00, // generator.hidden.0.bias
            1.092614252e+00,  // generator.hidden.0.weight
            -1.710044412e+01, // generator.output.bias
            8.769106363e-01,  // generator.output.weight
        ],
    },
    Case {
        channels: 3,
        model: r#"
family="cgan"
conditioning={kind="projection"}
generator={kind="residual",channels=3,blocks=2}
discriminator={kind="residual",channels=4,blocks=3,norm="spectral"}
loss="hinge"
penalty={kind="gradient",weight=10}
"#,
        losses: (8.833246799e+00, -2.821076699e-01),
        gradients: &[
            -1.165498217e-01, // discriminator.down.0.conv1.bias
            5.324230034e-01,  // discriminator.down.0.conv1.weight_orig
            -3.187951993e-01, // discriminator.down.0.conv2.bias
            1.567268776e-01,  // discriminator.down.0.conv2.weight_orig
            -3.187951993e-01, // discriminator.down.0.shortcut.bias
            3.187507181e-01,  // discriminator.down.0.shortcut.weight_orig
            -9.066590999e-02, // discriminator.down.1.conv1.bias
            -2.082734117e-01, // discriminator.down.1.conv1.weight_orig
            -1.683271464e-01, // discriminator.down.1.conv2.bias
            3.538835891e-16,  // discriminator.down.1.conv2.weight_orig
            -1.683271464e-01, // discriminator.down.1.shortcut.bias
            3.890302000e-01,  // discriminator.down.1.shortcut.weight_orig
            6.438431598e-02,  // discriminator.down.2.conv1.bias
            -5.511669164e-01, // discriminator.down.2.conv1.weight_orig
            -1.419108951e-01, // discriminator.down.2.conv2.bias
            -4.266566303e-02, // discriminator.down.2.conv2.weight_orig
            -3.244418780e-01, // discriminator.embedding.weight_orig
            -1.098982627e-01, // discriminator.output.bias
            -6.985012140e-01, // discriminator.output.weight_orig
            0.000000000e+00,  // generator.norm.bias
            0.000000000e+00,  // generator.norm.weight
            0.000000000e+00,  // generator.output.bias
            0.000000000e+00,  // generator.output.weight
            0.000000000e+00,  // generator.project.bias
            0.000000000e+00,  // generator.project.weight
            0.000000000e+00,  // generator.up.0.conv1.bias
            0.000000000e+00,  // generator.up.0.conv1.weight
            0.000000000e+00,  // generator.up.0.conv2.bias
            0.000000000e+00,  // generator.up.0.conv2.weight
            0.000000000e+00,  // generator.up.0.norm1.bias
            0.000000000e+00,  // generator.up.0.norm1.weight
            0.000000000e+00,  // generator.up.0.norm2.bias
            0.000000000e+00,  // generator.up.0.norm2.weight
            0.000000000e+00,  // generator.up.0.shortcut.bias
            0.000000000e+00,  // generator.up.0.shortcut.weight
            0.000000000e+00,  // generator.up.1.conv1.bias
            0.000000000e+00,  // generator.up.1.conv1.weight
            0.000000000e+00,  // generator.up.1.conv2.bias
            0.000000000e+00,  // generator.up.1.conv2.weight
            0.000000000e+00,  // generator.up.1.norm1.bias
            0.000000000e+00,  // generator.up.1.norm1.weight
            0.000000000e+00,  // generator.up.1.norm2.bias
            0.000000000e+00,  // generator.up.1.norm2.weight
            0.000000000e+00,  // generator.up.1.shortcut.bias
            0.000000000e+00,  // generator.up.1.shortcut.weight
        ],
    },
    Case {
        channels: 1,
        model: r#"
family="cgan"
conditioning={kind="auxiliary-classifier",weight=0.5}
generator={kind="dcgan",channels=[3,2]}
discriminator={kind="dcgan",channels=[2,3],norm="spectral"}
"#,
        losses: (2.195855636e+00, 1.442796673e+00),
        gradients: &[
            -5.762800237e-03, // discriminator.classifier.bias
            -4.663796620e-02, // discriminator.classifier.weight_orig
            1.317544095e-02,  // discriminator.down.0.conv.bias
            -4.272900560e-02, // discriminator.down.0.conv.weight_orig
            1.113812427e-02,  // discriminator.down.1.conv.bias
            -2.475319925e-01, // discriminator.down.1.conv.weight_orig
            1.257679202e-02,  // discriminator.output.bias
            1.936019002e-01,  // discriminator.output.weight_orig
            6.502160911e-03,  // generator.norm.bias
            4.780542529e-03,  // generator.norm.weight
            -2.438587756e-02, // generator.project.bias
            -3.537927459e-03, // generator.project.weight
            -3.032620187e-03, // generator.up.0.conv.weight
            -4.821685694e-03, // generator.up.0.norm.bias
            1.902949414e-04,  // generator.up.0.norm.weight
            3.842700331e-03,  // generator.up.1.conv.bias
            1.143729779e-01,  // generator.up.1.conv.weight
        ],
    },
    Case {
        channels: 3,
        model: r#"
family="gan"
generator={kind="tower",width=3,blocks=1}
discriminator={kind="tower",width=3,blocks=1}
loss="relativistic"
penalty={kind="r1-r2",weight=1e-3}
"#,
        losses: (4.733434164e-02, 1.317204982e+01),
        gradients: &[
            1.473852009e-03,  // discriminator.down.0.block0.conv1.bias
            6.072943954e-02,  // discriminator.down.0.block0.conv1.weight
            0.000000000e+00,  // discriminator.down.0.block0.conv2.bias
            3.122562754e-02,  // discriminator.down.0.block0.conv2.weight
            -5.592226715e-04, // discriminator.down.0.conv.bias
            -5.760952486e-02, // discriminator.down.0.conv.weight
            0.000000000e+00,  // discriminator.output.bias
            5.539643364e-02,  // discriminator.output.weight
            -1.949603085e+00, // generator.norm.bias
            -1.948621501e+00, // generator.norm.weight
            1.664860911e+00,  // generator.project.bias
            2.727191633e+00,  // generator.project.weight
            6.362800250e-01,  // generator.up.0.conv.bias
            -3.732603997e+00, // generator.up.0.conv.weight
            -5.518630452e-02, // generator.up.block0.conv1.bias
            3.371210901e-02,  // generator.up.block0.conv1.weight
            -3.155161568e+00, // generator.up.block0.conv2.bias
            -7.261986923e-01, // generator.up.block0.conv2.weight
        ],
    },
    Case {
        channels: 3,
        model: r#"
family="cgan"
conditioning={kind="projection"}
generator={kind="tower",width=3,blocks=1}
discriminator={kind="tower",width=3,blocks=1}
loss="relativistic"
penalty={kind="r1-r2",weight=1e-3}
"#,
        losses: (2.084882850e+00, 2.336780925e-22),
        gradients: &[
            -6.400098806e-03, // discriminator.down.0.block0.conv1.bias
            9.582291038e-01,  // discriminator.down.0.block0.conv1.weight
            0.000000000e+00,  // discriminator.down.0.block0.conv2.bias
            9.715162737e-01,  // discriminator.down.0.block0.conv2.weight
            2.760290952e-01,  // discriminator.down.0.conv.bias
            -1.717902501e+00, // discriminator.down.0.conv.weight
            -6.782670857e-02, // discriminator.embedding.weight
            0.000000000e+00,  // discriminator.output.bias
            2.564233710e-01,  // discriminator.output.weight
            2.170541450e-21,  // generator.norm.bias
            9.341695532e-23,  // generator.norm.weight
            1.880871623e-21,  // generator.project.bias
            -2.504706368e-21, // generator.project.weight
            -9.847569714e-22, // generator.up.0.conv.bias
            2.682258465e-21,  // generator.up.0.conv.weight
            -1.359346508e-23, // generator.up.block0.conv1.bias
            1.564998488e-22,  // generator.up.block0.conv1.weight
            -3.860883754e-22, // generator.up.block0.conv2.bias
            -1.589210804e-21, // generator.up.block0.conv2.weight
        ],
    },
    Case {
        channels: 1,
        model: r#"
family="gan"
generator={kind="dcgan",channels=[3,2]}
discriminator={kind="dcgan",channels=[2,3]}
penalty={kind="r1",weight=0.7}
pack=3
"#,
        losses: (1.973257709e+00, 9.388050314e-01),
        gradients: &[
            -7.603417270e-02, // discriminator.down.0.conv.bias
            -1.242252767e+00, // discriminator.down.0.conv.weight
            2.992815310e-02,  // discriminator.down.1.conv.bias
            1.130438677e+00,  // discriminator.down.1.conv.weight
            1.857825685e-02,  // discriminator.output.bias
            3.684547156e-01,  // discriminator.output.weight
            7.374030458e-02,  // generator.norm.bias
            1.466758662e-01,  // generator.norm.weight
            1.763617232e-01,  // generator.project.bias
            -1.050376051e-01, // generator.project.weight
            9.791688780e-01,  // generator.up.0.conv.weight
            3.946322394e-02,  // generator.up.0.norm.bias
            9.651348248e-02,  // generator.up.0.norm.weight
            3.986205650e-02,  // generator.up.1.conv.bias
            6.352578478e-01,  // generator.up.1.conv.weight
        ],
    },
];

fn wave(n: usize, phase: f64) -> Vec<f64> {
    (0..n).map(|i| 0.4 * (0.7 * i as f64 + phase).sin()).collect()
}

fn build(case: &Case) -> Box<dyn GenerativeModel> {
    let config: ModelConfig = toml::from_str(&format!("latent_dim=2\n{}", case.model)).unwrap();
    let image = ImageShape::new(case.channels, 8, 8);
    let model = config.build(image, 3, ParamSet::fresh_with(0, &Device::Cpu, DType::F64)).unwrap();
    let mut tensors = BTreeMap::new();
    let mut place = 0;
    for (name, kind, var) in model.params().iter() {
        let n = var.elem_count();
        let values: Vec<f64> = if kind == Kind::Weight {
            place += 1;
            let offset = if name.contains("norm") && name.ends_with("weight") { 1.0 } else { 0.0 };
            wave(n, f64::from(place - 1)).into_iter().map(|value| value + offset).collect()
        } else if name.ends_with("weight_u") {
            let length = wave(n, 5.0).iter().map(|value| value * value).sum::<f64>().sqrt();
            wave(n, 5.0).into_iter().map(|value| value / length).collect()
        } else {
            var.flatten_all().unwrap().to_vec1().unwrap()
        };
        tensors.insert(name.to_owned(), Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap());
    }
    model.params().assign(&tensors).unwrap();
    model
}

fn batch(channels: usize) -> Batch {
    let pixels: Vec<f64> = (0..3 * 64 * channels).map(|i| 0.5 + 0.5 * (i as f64 * 1.3).sin()).collect();
    let images = Tensor::from_vec(pixels, (3, channels, 8, 8), &Device::Cpu).unwrap();
    let condition = Condition::classes(&[1, 0, 2]).unwrap();
    Batch { condition, ..Batch::unlabelled(images, vec![0, 1, 2]) }
}

/// Adam whose first step is θ − lr ∇θ, very nearly: its eps dwarfs every gradient.
fn descent(lr: f64) -> OptimizerConfig {
    OptimizerConfig { lr: 1e9 * lr, eps: 1e9, betas: [0.0, 0.0], ..OptimizerConfig::default() }
}

fn values(model: &dyn GenerativeModel) -> BTreeMap<String, Vec<f64>> {
    let values = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    model.params().tensors().into_iter().map(|(name, tensor)| (name, values(tensor))).collect()
}

/// The step's losses, and the gradient that it applied to each weight.
fn step(
    model: &dyn GenerativeModel,
    channels: usize,
    config: OptimizerConfig,
) -> (Vec<f64>, BTreeMap<String, Vec<f64>>) {
    let before = values(model);
    let report = TrainingState::new(model, config, 4, 1).unwrap().step(model, &batch(channels)).unwrap();
    let loss = |name: &str| report.scalars.iter().find(|(found, _)| found == name).unwrap().1;
    let mut gradients = values(model);
    for (name, after) in &mut gradients {
        after.iter_mut().zip(&before[name]).for_each(|(after, before)| *after = before - *after);
    }
    (vec![loss("discriminator"), loss("generator")], gradients)
}

#[test]
fn a_step_is_that_of_pytorch() {
    for case in CASES {
        let model = build(case);
        let (losses, gradients) = step(model.as_ref(), case.channels, descent(1.0));
        for (found, expected) in losses.iter().zip([case.losses.0, case.losses.1]) {
            assert!(
                (found - expected).abs() < 1e-6 * (1.0 + expected.abs()),
                "{}: loss {found}, {expected}",
                case.model
            );
        }
        let weights: Vec<&str> = model
            .params()
            .iter()
            .filter(|(_, kind, _)| *kind == Kind::Weight)
            .map(|(name, _, _)| name)
            .collect();
        assert_eq!(weights.len(), case.gradients.len(), "{}: {weights:?}", case.model);
        for (name, expected) in weights.iter().zip(case.gradients) {
            let gradient = &gradients[*name];
            let found: f64 = gradient.iter().zip(wave(gradient.len(), 9.0)).map(|(g, w)| g * w).sum();
            let error = (found - expected).abs() / (1.0 + expected.abs());
            assert!(error < 1e-5, "{}: {name}: {found} against {expected}", case.model);
        }
    }
}

/// Every gradient against central differences of the loss that the step itself reports. The other player stands still,
/// and there is no spectral norm, whose vectors are constants only where its iteration has converged.
#[test]
fn gradients_agree_with_finite_differences() {
    for case in CASES.iter().filter(|case| !case.model.contains("spectral")) {
        for (player, place) in [("discriminator", 0), ("generator", 1)] {
            let model = build(case);
            let mut config = descent(1e-30);
            let own = waxwork_core::optim::GroupConfig { lr: Some(1e9), ..Default::default() };
            config.groups.insert(player.into(), own);
            let start: BTreeMap<String, Tensor> = model.params().deep_copy().unwrap().tensors();
            let (_, gradients) = step(model.as_ref(), case.channels, config);
            let still = |tensors: &BTreeMap<String, Tensor>| {
                model.params().assign(tensors).unwrap();
                step(model.as_ref(), case.channels, descent(1e-30)).0[place]
            };
            for (name, gradient) in gradients.iter().filter(|(name, _)| name.starts_with(player)) {
                if name.contains("running") {
                    continue;
                }
                for i in (0..gradient.len()).step_by((gradient.len() / 4).max(1)) {
                    let at = |delta: f64| {
                        let mut moved: Vec<f64> = start[name].flatten_all().unwrap().to_vec1().unwrap();
                        moved[i] += delta;
                        let mut tensors = start.clone();
                        let shape = start[name].shape();
                        tensors.insert(name.clone(), Tensor::from_vec(moved, shape, &Device::Cpu).unwrap());
                        still(&tensors)
                    };
                    let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
                    let error = (gradient[i] - numeric).abs() / (1.0 + numeric.abs());
                    assert!(error < 1e-5, "{}: {name}[{i}]: {} against {numeric}", case.model, gradient[i]);
                }
            }
        }
    }
}
