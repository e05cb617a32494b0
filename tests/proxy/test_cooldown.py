"""A trigger that has acted does nothing more on that scope for a while."""

from proxy.cooldown import Cooldown


def test_it_holds_on_its_scope_until_its_end():
    """Not before, not at its end, and not elsewhere."""
    cooldown = Cooldown()
    assert not cooldown.holds("account:main", 100.0)
    cooldown.begin("account:main", 100.0, 60.0)

    held = [cooldown.holds("account:main", now_s) for now_s in (100.0, 159.9, 160.0)]
    assert held == [True, True, False]
    assert not cooldown.holds("account:desk", 100.0)
    assert (cooldown.scopes(159.9), cooldown.scopes(160.0)) == (["account:main"], [])
