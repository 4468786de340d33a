"""Batches: what is handed in, remembered, found again after a kill, and taken into the same cache as all answers."""

import json

import pytest
from endpoints import KEY, BatchEndpoint, caption_of
from fakes import Card

from recap_eval.data.digests import Digests
from recap_eval.endpoint.address import Address, Key
from recap_eval.endpoint.batches import BatchClient
from recap_eval.endpoint.failures import EndpointDown
from recap_eval.endpoint.money import Budget, BudgetReached, Price
from recap_eval.errors import DataError, UserError
from recap_eval.judge.answers import Answers
from recap_eval.judge.asking import Setup
from recap_eval.judge.batch import Docket, collect, standing, submit
from recap_eval.judge.questions import Item, Judge, questions_of
from recap_eval.judge.rating import Config, judge_items
from recap_eval.judge.templates import find_template

pytestmark = pytest.mark.serial
JUDGE = Judge(find_template("paper"), "judge-1", "compatible")


def rate(body):
    return f"Rating: {1 + int(caption_of(body).split()[-1]) % 5}"


def items(n):
    return [Item.of(f"k{number}", Card(f"c{number}", number % 90), f"text {number}") for number in range(n)]


def asked(n):
    return [row[0] for row in questions_of(items(n), JUDGE, 1, Digests(None, False))]


@pytest.fixture
def office(tmp_path):
    with BatchEndpoint(rate, key=KEY) as server, Answers(tmp_path / "judge.sqlite") as answers:
        docket = Docket(tmp_path / "state")
        docket.open_for(JUDGE)
        yield server, docket, BatchClient(Address((server.url,), Key(KEY))), answers


def test_batches_are_cut_by_bytes_and_number_and_come_back_as_answers(office, tmp_path):
    server, docket, client, answers = office
    made = submit(docket, asked(25), client, answers, Budget(), most=(10**9, 10))
    assert [len(docket.tickets(shard)) for shard in made] == [10, 10, 5] and len(server.batches) == 3
    sizes = [len(server.files[f"file-{number}"]) for number in range(3)]
    assert len(submit(docket, asked(25), client, answers, Budget())) == 0  # all are under way
    first = json.loads(server.files["file-0"].splitlines()[0])
    assert first["url"] == "/v1/chat/completions" and first["body"]["messages"] and first["custom_id"] == asked(1)[0].key
    found = collect(docket, client, answers)
    assert (found.answers, found.waiting) == (0, 3) and [one.status for _, one in standing(docket, client)] == [
        "in_progress"
    ] * 3
    for batch in server.batches:
        server.finish(batch)
    found = collect(docket, client, answers)
    assert (found.answers, found.waiting, found.missing, found.failed) == (25, 0, 0, {})
    assert collect(docket, client, answers).answers == 0 and submit(docket, asked(25), client, answers, Budget()) == []
    price = (1.0, 1.0)
    config = Config(JUDGE, Setup(Address(("http://127.0.0.1:9/v1",)), progress=False), tmp_path / "judge.sqlite", price=price)
    rated = judge_items(items(25), config)  # nobody is asked any more
    assert rated.values == [1 + n % 5 for n in range(25)] and rated.usage.cost == pytest.approx(25 * 104e-6 / 2)
    other = Docket(tmp_path / "other")
    other.open_for(JUDGE)
    with Answers(tmp_path / "none.sqlite") as none:
        assert len(submit(other, asked(25), client, none, Budget(), most=(sizes[2] + 10, 1000))) == 5  # five rows fit


def test_what_failed_or_expired_is_handed_in_again(office):
    server, docket, client, answers = office
    submit(docket, asked(10), client, answers, Budget())
    server.finish("batch_0", "expired", lambda n: {2: f"bad image {KEY}", 3: "drop", 7: "drop"}.get(n))
    found = collect(docket, client, answers)
    assert (found.answers, found.missing) == (7, 3) and list(found.failed.values()) == ["bad image [key]"]
    (again,) = submit(docket, asked(10), client, answers, Budget())
    assert docket.tickets(again).keys() == {asked(10)[n].key for n in (2, 3, 7)}
    server.finish("batch_1")
    assert collect(docket, client, answers).missing == 0 and len(answers.get([one.key for one in asked(10)])) == 10


def test_a_batch_that_came_about_as_we_died_is_found_again(office):
    server, docket, client, answers = office
    server.faults = lambda n, body: "reset" if n == -1 and len(server.batches) == 1 else None
    client._sdk = client._sdk.with_options(max_retries=0)
    with pytest.raises(EndpointDown, match="Nobody answers"):
        submit(docket, asked(4), client, answers, Budget())
    assert [shard.id for shard in docket.shards()] == [""] and len(server.batches) == 1
    assert submit(docket, asked(4), client, answers, Budget()) == [] and len(server.batches) == 1  # nothing is paid twice
    server.finish("batch_0")
    assert collect(docket, client, answers).answers == 4


def test_a_batch_that_never_arrived_is_handed_in(office):
    _, docket, client, answers = office
    docket.begin([one.ticket for one in asked(4)])  # and then we died
    (made,) = submit(docket, asked(4), client, answers, Budget())
    assert made.number == 2 and [shard.collected for shard in docket.shards()] == ["never handed in", ""]


def test_strange_rows_are_told_and_do_no_harm(office):
    server, docket, client, answers = office
    submit(docket, asked(3), client, answers, Budget())
    server.finish("batch_0")
    rows = server.files["batch_0-output_file_id"].splitlines()
    foreign = json.dumps(json.loads(rows[0]) | {"custom_id": "f" * 64}).encode()
    hollow = json.dumps(json.loads(rows[1]) | {"response": {"status_code": 200, "body": {}}}).encode()
    server.files["batch_0-output_file_id"] = b"\n".join([rows[0], rows[0], b"{broken", b"[1]", foreign, hollow, b""])
    found = collect(docket, client, answers)
    assert found.missing == 2 and found.failed["f" * 64] == "an answer to no question of ours"
    assert any("no chat completion" in why for why in found.failed.values()) and "no row of a batch" in found.failed[""]


def test_batches_keep_to_the_budget_and_to_their_judge(office, tmp_path):
    _, docket, client, answers = office
    with pytest.raises(BudgetReached):
        submit(docket, asked(10), client, answers, Budget(1e-4, Price(1.0, 1.0, "test")))
    assert docket.shards() == []
    with pytest.raises(UserError, match="another judge: other model"):
        docket.open_for(Judge(find_template("paper"), "judge-2", "compatible"))
    assert docket.judge() == JUDGE
    with docket.alone(), pytest.raises(DataError, match="Another process"), Docket(docket.folder).alone():
        pass
    with pytest.raises(DataError, match="holds no batches"):
        Docket(tmp_path / "empty").judge()
    wrong = BatchClient(Address(client.address.urls, Key("sk-wrong")))
    with pytest.raises(EndpointDown, match="does not accept the key"):
        submit(docket, asked(3), wrong, answers, Budget())
