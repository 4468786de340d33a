"""The FID Inception: its network against torchvision's, resizes against PIL, torch and a scalar loop, weights, decoding."""

import io
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.nn import functional
from web import described

from recap_eval.data.fetch import get_source
from recap_eval.data.sources import read_sources
from recap_eval.errors import DataError, UserError
from recap_eval.extractors import inception_net, weights
from recap_eval.extractors.base import Extraction
from recap_eval.extractors.decode import rgb_array
from recap_eval.extractors.frame import Frame, framed
from recap_eval.extractors.inception import InceptionExtractor
from recap_eval.extractors.inception_net import InceptionNet, convolutions, folded
from recap_eval.extractors.loading import load_extractor
from recap_eval.extractors.resize import RESIZES, resize_many, resize_one
from recap_eval.extractors.resize import weights as resize_weights


def encoded(array, form="PNG", **options):
    buffer = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(buffer, form, **options)
    return buffer.getvalue()


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def network():
    """Torchvision's Inception in the FID's layout, random in every part; its state has the names of both ports."""
    model = torchvision.models.inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False).eval()
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if name.endswith("conv.weight"):
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=generator)
        elif name.endswith(("bn.weight", "running_var")):
            value.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith(("bn.bias", "running_mean", "fc.weight", "fc.bias")):
            value.normal_(0, 0.1, generator=generator)
    return model


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def fid_pools(network, monkeypatch):
    """Give torchvision's blocks the pools of TensorFlow's graph: padding not counted, a maximum in the last block."""
    last = []

    def pool(x, kernel_size, stride, padding):
        if last:
            return functional.max_pool2d(x, kernel_size, stride=stride, padding=padding)
        return functional.avg_pool2d(x, kernel_size, stride=stride, padding=padding, count_include_pad=False)

    patched = types.SimpleNamespace(**{name: getattr(functional, name) for name in ("relu", "max_pool2d")}, avg_pool2d=pool)
    monkeypatch.setattr(torchvision.models.inception, "F", patched)
    hook = network.Mixed_7c.register_forward_pre_hook(lambda *_: last.append(1))
    yield
    hook.remove()


def reference(network, images):
    """Return pool3 and logits of torchvision's modules, nothing folded, images as they come."""
    found = []
    hook = network.avgpool.register_forward_hook(lambda module, given, out: found.append(out.flatten(1)))
    with torch.inference_mode():
        logits = network(images)
    hook.remove()
    return found[0], logits


def far(a, b):
    return float((a - b).abs().max() / b.abs().max())


def test_the_network_is_torchvisions_with_the_pools_of_tensorflow(network, fid_pools):
    images = torch.randn(2, 3, 299, 299, generator=torch.Generator().manual_seed(1))
    features, logits = reference(network, images)
    net = InceptionNet(network.state_dict(), "x", torch.float32, "cpu")
    ours = net.features(images)
    assert ours.shape == (2, 2048) and ours.dtype == torch.float32
    assert far(ours, features) < 5e-6
    assert far(net.logits(ours), logits - network.fc.bias.detach()) < 2e-5


def test_pools_as_torchvision_has_them_give_other_features(network):
    """The test above would not pass for the ImageNet network."""
    images = torch.randn(1, 3, 299, 299, generator=torch.Generator().manual_seed(1))
    ours = InceptionNet(network.state_dict(), "x", torch.float32, "cpu").features(images)
    assert far(ours, reference(network, images)[0]) > 1e-3


def test_bf16_is_near_and_not_equal(network):
    images = torch.randn(1, 3, 299, 299, generator=torch.Generator().manual_seed(1))
    one, other = (
        InceptionNet(network.state_dict(), "x", dtype, "cpu").features(images) for dtype in (torch.float32, torch.bfloat16)
    )
    assert 1e-5 < far(other, one) < 0.05


def test_folding_equals_convolution_and_normalisation(network):
    state, layer = network.state_dict(), network.Mixed_6b.branch7x7_2
    weight, bias = folded(state, "Mixed_6b.branch7x7_2")
    x = torch.randn(2, 128, 9, 9, generator=torch.Generator().manual_seed(0))
    ours = functional.conv2d(x.double(), weight, bias, padding=(0, 3))
    with torch.inference_mode():
        theirs = layer.bn(layer.conv(x))
    assert layer.bn.eps == inception_net.EPSILON and far(ours, theirs.double()) < 1e-5


def test_every_convolution_of_torchvision_is_used_once(network):
    names = [name.removesuffix(".conv.weight") for name in network.state_dict() if name.endswith(".conv.weight")]
    assert sorted(convolutions()) == sorted(names) and len(names) == 94


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda state: state.pop("Mixed_7b.branch_pool.bn.running_var"),
            r"lacks Mixed_7b\.branch_pool\.bn\.running_var and 0 o",
        ),
        (
            lambda state: state.update({"fc.weight": torch.zeros(1000, 2048)}),
            "another Inception: its last layer is 1000 x 2048",
        ),
    ],
)
def test_another_network_is_refused(network, change, message):
    state = dict(network.state_dict())
    change(state)
    with pytest.raises(DataError, match=message):
        InceptionNet(state, "x.pth", torch.float32, "cpu")


# ---- resizes

SIZES = [(256, 256), (100, 311), (640, 480), (299, 299), (1, 7), (1030, 300)]


def unscaled(name, image):
    centre = RESIZES[name].centre
    return np.asarray(resize_one(image, name)) * centre + centre


@pytest.mark.parametrize("size", SIZES)
def test_clean_is_pillows_bicubic_in_floats(size):
    image = noise(*size, 3)
    planes = [Image.fromarray(image[..., c].astype(np.float32)).resize((299, 299), Image.Resampling.BICUBIC) for c in range(3)]
    theirs = np.stack([np.asarray(plane).clip(0, 255) for plane in planes])
    assert np.abs(unscaled("clean", image) - theirs).max() < 1.3e-4


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name, antialias", [("legacy_pytorch", False), ("tm18", True)])
def test_bilinear_at_the_centre_is_torchs(name, antialias, size):
    image = noise(*size, 3)
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].double()
    theirs = functional.interpolate(planes, (299, 299), mode="bilinear", align_corners=False, antialias=antialias)[0].numpy()
    assert np.abs(unscaled(name, image) - theirs).max() < 1.3e-4


@pytest.mark.parametrize("size", SIZES)
def test_tf1_takes_two_neighbours_from_grids_aligned_at_the_corner(size):
    image, (height, width) = noise(*size, 3), size
    ours = unscaled("tf1", image)
    for y, x in [(0, 0), (298, 298), (298, 0), *np.random.default_rng(0).integers(0, 299, (40, 2)).tolist()]:
        v, u = y * height / 299, x * width / 299
        top, left = int(v), int(u)
        below, right = min(top + 1, height - 1), min(left + 1, width - 1)
        upper = image[top, left] * (1 - u % 1) + image[top, right] * (u % 1)
        lower = image[below, left] * (1 - u % 1) + image[below, right] * (u % 1)
        assert np.abs(ours[:, y, x] - (upper * (1 - v % 1) + lower * (v % 1))).max() < 1.3e-4


@pytest.mark.parametrize("name", RESIZES)
@pytest.mark.parametrize("size", [(256, 256), (100, 311), (1030, 300)])
def test_dense_and_sparse_products_agree(name, size):
    images = [noise(*size, 3, seed=seed) for seed in (0, 1)]
    many = resize_many(torch.from_numpy(np.stack(images)), name)
    one = np.stack([resize_one(image, name) for image in images])
    assert np.abs(many.numpy() - one).max() * 128 < 2e-4


def test_no_two_resizes_are_alike():
    image = noise(400, 256, 3)
    found = [unscaled(name, image) for name in RESIZES]
    assert all(np.abs(a - b).max() > 1 for i, a in enumerate(found) for b in found[:i])
    assert {name: how.centre for name, how in RESIZES.items()}["legacy_pytorch"] == 127.5
    assert all(np.allclose(resize_weights(name, 77).sum(axis=1), 1) for name in RESIZES)


# ---- images

STRANGE = {
    "grey.png": encoded(noise(20, 30)),
    "grey.jpg": encoded(noise(20, 30), "JPEG"),
    "cmyk.jpg": encoded(Image.fromarray(noise(20, 30, 4), "CMYK"), "JPEG"),
    "palette.png": encoded(Image.fromarray(noise(20, 30, 3)).quantize(16)),
    "alpha.png": encoded(Image.fromarray(noise(20, 30, 4), "RGBA")),
    "grey-alpha.png": encoded(Image.fromarray(noise(20, 30, 2), "LA")),
    "bits.png": encoded(Image.fromarray(noise(20, 30)).convert("1")),
    "photo.webp": encoded(noise(20, 30, 3), "WEBP"),
    "plain.jpg": encoded(noise(20, 30, 3), "JPEG"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_images_are_read_as_pils_convert_has_them(name):
    theirs = np.asarray(Image.open(io.BytesIO(STRANGE[name])).convert("RGB"))
    assert np.array_equal(rgb_array(STRANGE[name], name), theirs) and theirs.shape == (20, 30, 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_an_orientation_in_exif_is_ignored(form):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(noise(20, 30, 3), form, exif=exif.tobytes())
    assert Image.open(io.BytesIO(turned)).getexif()[0x0112] == 6
    assert np.array_equal(rgb_array(turned, "x"), rgb_array(encoded(noise(20, 30, 3), form), "x"))


def test_more_than_8_bits_a_channel_are_refused():
    deep = encoded(np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30))
    with pytest.raises(DataError, match=r"deep\.png has more than 8 bits a channel \(mode I;16\)"):
        rgb_array(deep, "deep.png")


@pytest.mark.parametrize("name", ["alpha.png", "plain.jpg"])
def test_a_cut_file_is_named(name):
    with pytest.raises(DataError, match=f"{name} is not a readable image"):
        rgb_array(STRANGE[name][: len(STRANGE[name]) // 2], name)


@pytest.mark.parametrize("word, name", [("crop:256", "crop:256:bicubic"), ("squash:64:lanczos", "squash:64:lanczos")])
def test_framings_are_named_in_full(word, name):
    assert Frame.parse(word).name == name and Frame.parse(name) == Frame.parse(word)


@pytest.mark.parametrize("word", ["crop", "crop:0", "crop:-1", "pad:256", "crop:256:nearest", "crop:2.5"])
def test_other_framings_are_refused(word):
    with pytest.raises(UserError, match="says no framing"):
        Frame.parse(word)


def test_a_crop_is_the_largest_square_around_the_centre_then_resized():
    image = noise(41, 90, 3)
    square = Image.fromarray(image[:, 24:65]).resize((16, 16), Image.Resampling.BICUBIC)
    assert np.array_equal(rgb_array(encoded(image), "x", Frame("crop", 16)), np.asarray(square))
    assert np.array_equal(rgb_array(encoded(image), "x", Frame("crop", 41)), image[:, 24:65])  # nothing to resize
    whole = Image.fromarray(image).resize((16, 16), Image.Resampling.LANCZOS)
    assert np.array_equal(rgb_array(encoded(image), "x", Frame("squash", 16, "lanczos")), np.asarray(whole))
    again = framed(encoded(image), "x", Frame("crop", 16))
    assert np.array_equal(rgb_array(again, "x"), np.asarray(square))


# ---- weights


def test_missing_weights_say_where_they_are_looked_for_and_how_to_get_them(tmp_path):
    with pytest.raises(DataError) as caught:
        InceptionExtractor(Extraction(root=tmp_path))
    assert str(tmp_path / "weights/inception-2015-12-05-6726825d.pth") in caught.value.what
    for part in (f"recap-eval fetch fid-inception --data {tmp_path}", "https://github.com/mseitzer/pytorch-fid/releases/"):
        assert part in caught.value.hint
    with pytest.raises(DataError, match=r"mine\.pth is not there"):
        InceptionExtractor(Extraction(weights=tmp_path / "mine.pth"))


@pytest.mark.parametrize("prefix", ["", "pt_", "weights-"])
def test_weights_are_found_under_all_their_names_and_held_against_them(tmp_path, prefix):
    (tmp_path / "weights").mkdir()
    path = tmp_path / "weights" / f"{prefix}inception-2015-12-05-6726825d.pth"
    path.write_bytes(b"not these")
    assert weights.find_weights(None, tmp_path) == path
    with pytest.raises(DataError, match=r"damaged: its sha256 begins [0-9a-f]{8}, not 6726825d"):
        weights.read_weights(path)


def test_a_pickle_that_would_run_something_is_refused(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (print, ("ran",))

    torch.save({"fc.weight": Hostile()}, tmp_path / "x.pth")
    with pytest.raises(DataError, match="cannot be read safely"):
        weights.read_weights(tmp_path / "x.pth")
    (tmp_path / "y.pth").write_bytes(b"\x80\x02garbage")
    with pytest.raises(DataError, match=r"y\.pth cannot be read safely"):
        weights.read_weights(tmp_path / "y.pth")


def test_the_row_for_fetching_has_both_releases_and_the_published_digest():
    source = read_sources()[weights.SOURCE]
    (file,), urls = source.files, [url.replace("{file}", source.files[0]["name"]) for url in source.urls]
    assert [url.rpartition("/")[2] for url in urls] == [
        "pt_inception-2015-12-05-6726825d.pth",
        "weights-inception-2015-12-05-6726825d.pth",
    ]
    assert file["sha256"].startswith("6726825d") and file["size"] == 95628359


@pytest.mark.serial
def test_fetched_weights_lie_where_they_are_looked_for(host, tmp_path):
    source, content = read_sources()[weights.SOURCE], b"tensors"
    name = source.files[0]["name"]
    host.files[f"/weights-{name}"] = content  # the second release; the first is gone
    urls = [f"{host.address}/pt_{{file}}", f"{host.address}/weights-{{file}}"]
    get_source(replace(source, urls=urls, files=[described(content, name)]), tmp_path)
    assert weights.find_weights(None, tmp_path).read_bytes() == content


# ---- the extractor


def test_images_of_many_sizes_give_the_features_they_give_alone(file, network, fid_pools):
    extractor = load_extractor("inception", Extraction(weights=file, resize="tm18"))
    images = [noise(64, 64, 3), noise(300, 200, 3), noise(20, 33)]
    loaded = [extractor.load(encoded(image), "x") for image in images]
    together = extractor.features(loaded)
    alone = torch.cat([extractor.features([image]) for image in loaded])
    assert together.shape == (3, extractor.dim) and far(together, alone) < 1e-5
    planes = torch.from_numpy(images[0]).permute(2, 0, 1)[None].float()
    inputs = (functional.interpolate(planes, (299, 299), mode="bilinear", antialias=True) - 128) / 128
    assert far(together[:1], reference(network, inputs)[0]) < 1e-5


def test_what_a_gpu_is_given_is_what_a_cpu_is_given(file):
    extractor = load_extractor("inception", Extraction(weights=file))
    images = [noise(30, 40, 3), noise(50, 40, 3), noise(30, 40, 3, seed=1)]
    dense = extractor._resized([torch.from_numpy(image) for image in images])
    sparse = torch.stack([extractor.load(encoded(image), "x") for image in images])
    assert (dense - sparse).abs().max() < 2e-6


def test_all_that_changes_a_feature_is_in_the_key(file, tmp_path, network):
    base = Extraction(weights=file)
    other = tmp_path / "other.pth"
    torch.save(network.state_dict() | {"fc.weight": torch.ones(1008, 2048)}, other)
    changes = [{"resize": "tf1"}, {"precision": "bf16"}, {"frame": Frame("crop", 64)}, {"weights": other}]
    keys = [InceptionExtractor(replace(base, **change)).key for change in [{}, *changes]]
    assert all(a != b for i, a in enumerate(keys) for b in keys[:i])
    assert keys[0] == InceptionExtractor(replace(base, root=tmp_path)).key and len(keys[0]["weights"]) == 64
    with pytest.raises(UserError, match="Unknown resize 'claen'"):
        InceptionExtractor(replace(base, resize="claen"))
