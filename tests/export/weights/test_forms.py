"""Every form that a checkpoint comes in is taken as torchvision takes it, or refused with a line that says why."""

from pathlib import Path

import pytest
import torch

from segopt.errors import ExportError
from segopt_export.weights.loading import WeightsRequest, load_weights
from weights_forms import FORMS, LRASPP, table

DOCS = Path(__file__).parents[3] / "docs" / "weights.md"
LOOKED_THROUGH = {"state dict, `.pth`", "`AveragedModel` with `n_averaged`", "safetensors", "float16"}


@pytest.fixture(scope="module")
def models():
    """One untrained model of each network, three classes."""
    built = {}

    def model(network):
        if network.name not in built:
            torch.manual_seed(0)
            built[network.name] = network.build(3)
        return built[network.name]

    return model


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_each_form_is_taken_or_refused_as_the_table_says(form, models, tmp_path):
    if form.change:
        model = form.network.build(3)
        form.change(model)
    else:
        model = models(form.network)
    path = form.save(model, tmp_path)
    if form.refused is not None:
        network = LRASPP if "another network" in form.name else form.network
        with pytest.raises(ExportError) as error:
            load_weights(network, WeightsRequest(str(path), key=form.key))
        text = str(error.value)
        assert form.refused in text
        assert text.startswith(str(path))
        assert "\n" not in text
        return
    trained = load_weights(form.network, WeightsRequest(str(path), key=form.key))
    assert [form.note in note for note in trained.notes] == [True] if form.note else trained.notes == ()
    expected = reference(form, model, path)
    given = trained.model.state_dict()
    assert given.keys() == expected.keys()
    assert all(torch.equal(given[name], expected[name]) for name in expected if "num_batches" not in name)
    if form.name in LOOKED_THROUGH:
        picture = torch.rand(1, 3, 64, 64)
        own = form.network.build(3)
        own.load_state_dict(expected)
        with torch.no_grad():
            torch.testing.assert_close(trained.model(picture)["out"], own(picture)["out"], rtol=0, atol=0)


def reference(form, model, path):
    """What torchvision's own load_state_dict makes of the tensors; a file that it can open is opened by torch."""
    if form.network is LRASPP:
        own = LRASPP.build(3)
        own.load_state_dict(as_saved(form, model))
        return own.state_dict()
    state = torch.load(path, weights_only=True)
    state = {name.removeprefix("model."): t for name, t in state.items() if not name.startswith("aux_")}
    own = form.network.build(3)
    if form.change:
        form.change(own)
    own.load_state_dict(state)
    return own.state_dict()


def as_saved(form, model):
    rounded = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(form.name)
    state = model.state_dict()
    return {k: v.to(rounded) if v.is_floating_point() and rounded else v for k, v in state.items()}


def test_there_are_sixty_forms_and_the_docs_have_them():
    assert len(FORMS) >= 60
    assert len({form.name for form in FORMS}) == len(FORMS)
    assert table() in DOCS.read_text(encoding="utf-8")
