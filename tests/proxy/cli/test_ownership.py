"""Foreign packages named `proxy` or `rules` are found before they judge an order."""

from pathlib import Path

from proxy.cli.ownership import claimed_packages, misplaced_packages


def test_our_own_packages_are_in_place():
    """In this checkout both packages lie side by side, and nothing is said."""
    assert misplaced_packages() is None


def test_a_package_from_elsewhere_is_named_with_both_places(tmp_path):
    """If `rules` is imported from another folder than `proxy`, the sentence names found and expected."""
    problem = misplaced_packages(home=tmp_path)

    assert problem is not None
    assert str(tmp_path / "proxy") in problem
    assert "python -P -m proxy" in problem


def test_our_own_distribution_may_claim_the_names():
    """One owner, ours, is as it should be; so is none, as in an editable install."""
    assert claimed_packages(lambda: {"proxy": ["riskgate"], "rules": ["riskgate", "Riskgate"]}) is None
    assert claimed_packages(dict) is None


def test_another_owner_is_refused_by_name():
    """A second distribution that installs `rules` may have overwritten ours without a word."""
    problem = claimed_packages(lambda: {"rules": ["riskgate", "rules"], "proxy": ["riskgate"]})

    assert problem is not None
    assert "'rules'" in problem
    assert "environment of its own" in problem


def test_this_environment_has_no_other_owner():
    """The environment the tests run in is one the command would start in."""
    assert claimed_packages() is None


def test_the_check_is_made_where_the_code_lies():
    """The expected home is the folder above the imported package, whatever it is called."""
    import proxy

    assert misplaced_packages(Path(proxy.__file__).resolve().parents[1]) is None
