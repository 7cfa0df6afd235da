"""Which TensorRT is taken, and what is said where there is none that fits."""

import sys

import pytest

from segopt.driver import find_gpu
from segopt.errors import EngineError, UsageError
from segopt.model.sidecar import FLAVORS
from segopt.tensorrt.flavor import (
    RTX_ONLY,
    TRAITS,
    builder_here,
    find_flavor,
    grid_sample_is_wrong,
    installed_flavors,
)

no_gpu = pytest.mark.skipif(find_gpu() is not None, reason="this machine has a GPU")


@pytest.fixture
def install(monkeypatch, tmp_path):
    """Install modules of these names and contents, and let no other TensorRT be there."""

    def call(**modules):
        monkeypatch.syspath_prepend(tmp_path)
        for name in ("tensorrt", "tensorrt_rtx"):
            if name in modules:
                (tmp_path / f"{name}.py").write_text(modules[name])
                monkeypatch.delitem(sys.modules, name, raising=False)
            else:
                monkeypatch.setitem(sys.modules, name, None)  # Python's own way to say: not there.

    yield call
    for name in ("tensorrt", "tensorrt_rtx"):
        if getattr(sys.modules.get(name), "__file__", "").startswith(str(tmp_path)):
            del sys.modules[name]


def test_the_installed_one_is_found():
    module = pytest.importorskip("tensorrt_rtx")
    flavor = find_flavor("tensorrt-rtx")
    assert (flavor.name, flavor.version) == ("tensorrt-rtx", module.__version__)
    assert flavor.module is module
    assert str(flavor) == f"TensorRT-RTX {module.__version__}"


def test_networks_are_typed_strongly_by_the_flags_name():
    trt = pytest.importorskip("tensorrt_rtx")
    flavor = find_flavor("tensorrt-rtx")
    network = trt.Builder(trt.Logger()).create_network(flavor.creation_flags())
    assert network.get_flag(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def test_every_compute_capability_of_the_list_can_be_asked_for():
    trt = pytest.importorskip("tensorrt_rtx")
    flavor = find_flavor("tensorrt-rtx")
    config = trt.Builder(trt.Logger()).create_builder_config()
    flavor.set_compute_capabilities(config, flavor.traits.compute_capabilities)
    asked = [config.get_compute_capability(i) for i in range(config.num_compute_capabilities)]
    known = [value for name, value in trt.ComputeCapability.__members__.items() if name.startswith("SM")]
    assert sorted(asked, key=int) == sorted(known, key=int)
    assert set(flavor.traits.usual_capabilities) == {*flavor.traits.compute_capabilities} - {"7.5"}


@pytest.mark.parametrize(
    ("version", "wrong"), [("10.3.0", False), ("10.13.3", False), ("10.14.1.48", True), ("11.4.1", True)]
)
def test_versions_that_compute_gridsample_wrongly_are_known(install, version, wrong):
    install(tensorrt=f"__version__ = {version!r}", tensorrt_rtx="__version__ = '1.7.1.116'")
    assert grid_sample_is_wrong("tensorrt") == wrong
    assert not grid_sample_is_wrong("tensorrt-rtx")


def test_a_flavor_without_the_flag_needs_none(install):
    install(tensorrt="__version__ = '12.0'\nclass NetworkDefinitionCreationFlag: pass")
    import tensorrt

    from segopt.tensorrt.flavor import Flavor

    assert Flavor("tensorrt", tensorrt, "12.0").creation_flags() == 0


@pytest.mark.parametrize("version", ["10.3.0", "10.16.1.11", "11.4.1"])
def test_tensorrt_10_and_11_are_taken(install, version):
    install(tensorrt=f"__version__ = {version!r}")
    assert find_flavor("tensorrt").version == version
    assert find_flavor().name == "tensorrt"


@pytest.mark.parametrize("version", ["8.6.1", "9.3.0", "12.0.0", "1.7.1"])
def test_another_major_is_an_error_that_names_the_known_ones(install, version):
    install(tensorrt=f"__version__ = {version!r}")
    with pytest.raises(
        EngineError, match=rf"TensorRT {version} is installed, .* written for 10 and 11; "
    ) as caught:
        find_flavor()
    assert "\n" not in str(caught.value)


def test_where_there_is_none_it_says_how_to_get_one(install):
    install()
    assert installed_flavors() == ()
    assert builder_here() is None
    with pytest.raises(EngineError, match=r"no TensorRT is installed; .*segopt\[rtx\].*segopt\[gpu\].*Jetson"):
        find_flavor()
    for name in FLAVORS:
        with pytest.raises(
            EngineError, match=rf"{TRAITS[name].title} is not installed; install it with .*pip install"
        ):
            find_flavor(name)


@pytest.mark.parametrize(
    "fault", ["ImportError('libnvinfer.so.10: cannot open\\nshared object')", "OSError('no')"]
)
def test_one_that_does_not_load_is_an_error_of_one_line(install, fault):
    install(tensorrt=f"raise {fault}")
    with pytest.raises(EngineError, match="TensorRT is installed but does not load") as caught:
        find_flavor("tensorrt")
    assert "\n" not in str(caught.value)


def test_one_that_lacks_a_module_of_its_own_is_not_called_absent(install):
    install(tensorrt="import tensorrt_bindings_of_another_world")
    with pytest.raises(EngineError, match=r"does not load \(No module named 'tensorrt_bindings_of"):
        find_flavor("tensorrt")


@no_gpu
def test_without_a_gpu_the_one_that_needs_none_builds(install):
    install(tensorrt="__version__ = '10.3.0'", tensorrt_rtx="__version__ = '1.7.1'")
    assert installed_flavors() == ("tensorrt", "tensorrt-rtx")
    assert builder_here() == "tensorrt-rtx"
    assert find_flavor().name == "tensorrt-rtx"


@no_gpu
def test_without_a_gpu_full_tensorrt_cannot_build(install):
    install(tensorrt="__version__ = '10.3.0'")
    assert builder_here() is None


def test_an_unknown_name_is_wrong_usage():
    with pytest.raises(UsageError, match="runtime openvino is unknown; it is one of tensorrt, tensorrt-rtx"):
        find_flavor("openvino")


def test_what_rtx_alone_has_is_what_the_module_has():
    trt = pytest.importorskip("tensorrt_rtx")
    names = {name for owner in (trt, *vars(trt).values()) for name in dir(owner)}
    assert names >= RTX_ONLY
