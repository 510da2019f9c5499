"""The core's actions are those of the contract."""

from homepage.types.v1 import event_pb2

from shared.action import Action


def test_actions_have_the_names_and_numbers_of_the_contract():
    contract = {name.removeprefix("ACTION_"): number for name, number in event_pb2.Action.items() if number}
    assert {action.name: action.value for action in Action} == contract
