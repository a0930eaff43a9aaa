"""Netflix Lemur 1.9.3 (PyPI, Apache-2.0), its plugin lemur_digicert/plugin.py, unchanged: DIGICERT_URL is a setting. The rest
of Lemur (database, metrics, web) is replaced by what the plugin uses of it.
"""

import importlib.util
import sys
import types

import flask

import common
from common import HOST, KEY, ORGANIZATION, certificates, csr, finish, prove, step


def module(name, **names):
    made = types.ModuleType(name)
    made.__dict__.update(names)
    made.__path__ = []
    sys.modules[name] = made


class Plugin:
    def __init__(self, *args, **kwargs):
        pass


where = importlib.util.find_spec("lemur").submodule_search_locations[0]
module("lemur")
module("lemur.common")
module("lemur.common.utils", validate_conf=lambda app, names: [app.config[name] for name in names],
       convert_pkcs7_bytes_to_pem=None)  # fmt: skip
module("lemur.extensions", metrics=types.SimpleNamespace(send=lambda *args, **kwargs: None))
module("lemur.plugins")
module("lemur.plugins.bases", IssuerPlugin=Plugin, SourcePlugin=Plugin)
module("lemur.plugins.lemur_digicert", VERSION="1.9.3")
sys.modules["lemur.plugins"].lemur_digicert = sys.modules["lemur.plugins.lemur_digicert"]
spec = importlib.util.spec_from_file_location("plugin", f"{where}/plugins/lemur_digicert/plugin.py")
plugin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plugin)
# Ten attempts with ten seconds in between would be its patience.
plugin.get_certificate_id = plugin.get_certificate_id.__wrapped__

app = flask.Flask("lemur")
app.config.update(
    DIGICERT_API_KEY=KEY,
    DIGICERT_URL=HOST,
    DIGICERT_ORG_ID=ORGANIZATION,
    DIGICERT_ORDER_TYPE="ssl_plus",
    DIGICERT_ROOT="the root",
    DIGICERT_DEFAULT_VALIDITY_DAYS=90,
)


def options(name, **more):
    names = [plugin.x509.DNSName(name), plugin.x509.DNSName(f"www.{name}")]
    return {"common_name": name, "extensions": {"sub_alt_names": {"names": names}}, **more}


prove("example.com")
with app.app_context():
    flask.g.user = types.SimpleNamespace(username="tester")
    issuer = plugin.DigiCertIssuerPlugin()
    # Lemur never says skip_approval: its accounts approve by themselves.

    with step("certificate"):
        pem, _ = csr("lemur.example.com", "www.lemur.example.com")
        body, chain, external_id = issuer.create_certificate(pem, options("lemur.example.com", validity_years=1))
        (leaf,) = certificates(body)
        (intermediate,) = certificates(chain)
        assert leaf.issuer == intermediate.subject
        assert sorted(common.names_of(leaf)) == ["lemur.example.com", "www.lemur.example.com"]

    with step("certificate until a day"):
        pem, _ = csr("day.example.com", "www.day.example.com")
        until = plugin.arrow.utcnow().shift(days=45)
        body, _, _ = issuer.create_certificate(pem, options("day.example.com", validity_end=until))
        (day,) = certificates(body)
        assert day.not_valid_after_utc.date() <= until.date(), (day.not_valid_after_utc, until)

    with step("product found by the service"):
        app.config["DIGICERT_ORDER_TYPE"] = "ssl"
        pem, _ = csr("any.example.com", "www.any.example.com")
        issuer.create_certificate(pem, options("any.example.com"))
    app.config["DIGICERT_ORDER_TYPE"] = "ssl_plus"

    with step("revocation"):
        answer = issuer.revoke_certificate(types.SimpleNamespace(external_id=external_id), "no longer needed")
        assert answer["id"] and answer["type"] == "revoke", answer

    with step("pending order: nothing to fetch, then cancelled"):
        pem, _ = csr("pending.example.net", "www.pending.example.net")
        body = plugin.map_fields(options("pending.example.net"), pem)
        order = common.call("POST", "/order/certificate/ssl_plus", body, 201).json()["id"]
        pending = types.SimpleNamespace(external_id=order, name="pending.example.net")
        assert issuer.get_ordered_certificate(pending) is None
        issuer.cancel_ordered_certificate(pending, note="test")
        assert common.call("GET", f"/order/certificate/{order}").json()["status"] == "canceled"

    with step("cancelling what is not there is told by 404"):
        issuer.cancel_ordered_certificate(types.SimpleNamespace(external_id=1, name="nobody"))

    with step("the service's words reach the operator"):
        try:
            issuer.create_certificate("no CSR", options("bad.example.com"))
            raise AssertionError("an order without a CSR was taken")
        except AssertionError:
            raise
        except Exception as error:
            assert "CSR" in str(error), error

finish()
