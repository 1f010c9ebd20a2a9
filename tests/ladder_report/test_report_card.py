"""The model card: the Hub reads its metadata, and nothing of the upload is Markdown."""

import pytest
import yaml
from hostile import TEXTS, filled
from huggingface_hub import ModelCard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ladder_report.card import escape, render_card
from ladder_report.wording import printable
from ladder_schema.report import Report

# Accuracy under an attack without a radius says nothing: the Hub should not list it.
UNBOUNDED = {"cw", "deepfool", "jsma"}

MARKDOWN = MarkdownIt("commonmark").enable("table").enable("strikethrough")


def body(card: str) -> str:
    return card.split("---\n", 2)[2]


def shape(card: str) -> list[str]:
    """Kinds of the card's tokens, inline ones as well, without texts."""

    def kinds(tokens: list[Token]) -> list[str]:
        found = []
        for token in tokens:
            if token.type == "inline":
                # A line break within a cell is ours; neighbouring texts are one.
                inner = [kind for kind in kinds(token.children or []) if kind not in {"text", "text_special"}]
                found += ["inline", *inner]
            else:
                found.append(token.type)
        return found

    return kinds(MARKDOWN.parse(body(card)))


def test_the_hub_reads_the_results(good: Report) -> None:
    card = ModelCard(render_card(good))

    results = card.data.eval_results
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.model_name == "hardened-0f0f0f0f0f0f"
    measured = good.measurements
    assert [result.metric_value for result in results] == [
        measured.clean.after.rate, measured.worst_case.after.rate, measured.autoattack.outcome.after.rate,
        *(attack.outcome.after.rate for attack in measured.attacks if attack.attack not in UNBOUNDED),
    ]  # fmt: skip
    assert {result.metric_type for result in results} == {"accuracy"}


def test_says_what_the_model_is_for_and_what_was_checked(doubtful: Report) -> None:
    card = render_card(doubtful)

    assert "# Hardened image classifier: do not deploy\n" in card
    assert "- Not for use; " in card
    assert "| Gradients beat random search | hardened model | failed | Square, which sees no gradient" in card


def test_its_tables_are_tables(good: Report) -> None:
    html = MARKDOWN.render(body(render_card(good)))

    assert html.count("<table>") >= 15
    assert "|" not in html


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.one_of(
        st.sampled_from(TEXTS), st.text(max_size=80), st.text("#-+=*_`~|<>[]()!\\ 1.\n&;:", max_size=30)
    )
)
def test_an_escaped_text_stays_text(text: str) -> None:
    shown = " ".join(printable(text).split())
    for around in ("{}", "- {}", "| a |\n|---|\n| {} |"):
        tokens = MARKDOWN.parse(around.format(f"x{escape(text)}" if not shown else escape(text)))
        inline = [token for token in tokens if token.type == "inline"][-1]
        assert {child.type for child in inline.children or []} <= {"text", "text_special"}
        found = "".join(child.content for child in inline.children or [])
        assert found == (shown or "x")
        assert not {token.type for token in tokens} & {
            "heading_open",
            "fence",
            "code_block",
            "hr",
            "html_block",
        }


@pytest.mark.parametrize("text", [text for text in TEXTS if text.strip()])
def test_a_hostile_text_changes_no_structure(text: str, slots: Report) -> None:
    card = render_card(filled(slots, text))

    assert shape(card) == shape(render_card(slots))
    metadata = yaml.safe_load(card.split("---\n", 2)[1])
    assert set(metadata) == {"pipeline_tag", "tags", "metrics", "model-index"}
