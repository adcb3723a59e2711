"""Labels: what an owner says of a vm, and what an operator gets when it is written wrong."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import BadInput
from models.fleet import Priority
from tools.domain.labels import (
    ATTEMPT_NAMESPACE,
    NAMESPACE,
    Labels,
    check_labels,
    read_attempt,
    read_labels,
    read_note,
    without_attempt,
    write_labels,
)


def domain(attributes: str, *, more: str = "") -> str:
    return (
        f"<domain type='kvm'><name>web</name><metadata>{more}"
        f"<lifeboat:vm xmlns:lifeboat='{NAMESPACE}' {attributes}/></metadata></domain>"
    )


def test_everything_an_owner_can_say():
    xml = domain(
        'priority="high" workload="inference" anti-affinity-group="chat" cold-archive="forbidden" '
        'probe="udp://10.0.0.5:7000"'
    )
    assert read_labels(xml) == Labels(Priority.HIGH, "inference", "chat", False, "udp://10.0.0.5:7000")


@pytest.mark.parametrize(
    "xml",
    [
        "<domain type='kvm'><name>web</name></domain>",
        "<domain type='kvm'><name>web</name><metadata><app:x xmlns:app='urn:app'/></metadata></domain>",
        domain(""),
        domain('workload="" anti-affinity-group="" probe=""'),
    ],
)
def test_without_a_label_the_defaults_are_careful(xml: str):
    labels = read_labels(xml)
    assert labels == Labels()
    assert labels.priority is Priority.NORMAL
    assert labels.cold_archive_allowed is None, "neither yes nor no: policy decides"


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ('priority="urgent"', "priority 'urgent' is none of high, normal, low"),
        ('priority="HIGH"', "'HIGH'"),
        ('cold-archive="yes"', "cold-archive 'yes' is neither allowed nor forbidden"),
        ('prority="high"', "unknown attribute 'prority' (known: priority, workload"),
        ('probe="10.0.0.5:7000"', "probe '10.0.0.5:7000' is not like udp://"),
        ('probe="udp://10.0.0.5"', "names no port"),
        ('probe="udp://10.0.0.5:99999"', "is not like"),
        ('probe="file:///etc/passwd"', "is not like"),
        ('workload="a&#10;b"', "not printable"),
        (f'anti-affinity-group="{"x" * 200}"', "longer than 128"),
    ],
)
def test_a_wrong_label_is_left_aside_said_and_forbids_archiving(attributes: str, says: str):
    xml = domain(
        f"{attributes} {'' if 'cold-archive' in attributes else chr(99) + 'old-archive=' + chr(34) + 'allowed' + chr(34)}"
    )
    labels = read_labels(xml)
    assert says in labels.warning
    assert labels.cold_archive_allowed is False
    assert labels.priority is Priority.NORMAL
    assert len(labels.warning) < 400
    with pytest.raises(BadInput, match="label"):
        check_labels(xml)


def test_one_wrong_attribute_does_not_cost_the_others():
    labels = read_labels(domain('priority="high" workload="web" probe="nonsense"'))
    assert (labels.priority, labels.workload, labels.probe) == (Priority.HIGH, "web", None)


printable = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=20)


@settings(deadline=None)
@given(
    st.builds(
        Labels,
        priority=st.sampled_from(Priority),
        workload=printable,
        anti_affinity_group=st.none() | printable.filter(bool),
        cold_archive_allowed=st.sampled_from([None, True, False]),
        probe=st.sampled_from([None, "udp://10.0.0.5:7000", "tcp://[::1]:80", "https://vm.example/health"]),
    )
)
def test_labels_come_back_as_they_were_written(labels: Labels):
    element = write_labels(labels).replace("<vm", f"<vm xmlns='{NAMESPACE}'", 1)
    assert read_labels(f"<domain><metadata>{element}</metadata></domain>") == labels


@settings(deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_no_label_text_ever_raises(name: str, value: str):
    from xml.sax.saxutils import quoteattr

    legal = "".join(c for c in value if c.isprintable())
    labels = read_labels(domain(f"priority={quoteattr(legal)} probe={quoteattr(legal)} workload={quoteattr(legal)}"))
    assert isinstance(labels, Labels)
    assert name is not None


STAMP = f"<lifeboat-attempt:attempt xmlns:lifeboat-attempt='{ATTEMPT_NAMESPACE}' id='attempt-7'/>"


def test_a_stamp_is_read_and_taken_out_to_the_letter():
    plain = domain('priority="high"')
    stamped = domain('priority="high"', more=f"\n    {STAMP}")
    assert read_attempt(plain) is None
    assert read_attempt(stamped) == "attempt-7"
    assert without_attempt(stamped) == plain
    assert without_attempt(plain) == plain


def test_title_and_description_are_a_note_in_one_line_cut_short():
    text = f"<domain><title>web</title><description>up\n  at <![CDATA[<month-end>]]> {'x' * 600}</description></domain>"
    assert read_note(text).startswith("web up at <month-end> xxx")
    assert len(read_note(text)) == 500
    assert read_note("<domain><name>web</name></domain>") == ""
