"""The Terraform provider myklst/terraform-provider-st-digicert (GitHub, MPL-2.0; Go): what it sends (digicertAPI/api.go,
client.go; digicert/resource_certificate.go), and its structs as encoding/json fills them. It looks at bodies only, never at the
status: `errors` in them are what counts.
"""

import re

from common import ORGANIZATION, call, certificates, csr, finish, go, place_txt, step

CHAIN = [{"subject_common_name": str, "pem": str}]
ERRORS = [{"code": str, "message": str}]
TOKEN = {"token": str, "status": str}
PLACED = {
    "id": int, "certificate_id": int, "certificate_chain": CHAIN, "order_valid_till": str, "dcv_random_value": str,
    "domains": [{"id": int, "name": str, "dcv_token": TOKEN}], "errors": ERRORS,
}  # fmt: skip
ORDER = {
    "id": int, "status": str, "order_valid_till": str, "is_renewed": bool, "errors": ERRORS,
    "certificate": {
        "id": int, "status": str, "common_name": str, "valid_till": str, "certificate_chain": CHAIN,
        "organization": {"id": int}, "csr": str,
    },
}  # fmt: skip
DOMAIN = {"id": int, "name": str, "is_pending_validation": bool, "dcv_token": TOKEN}


def ask(method, path, body=None, data=None):
    answer = call(method, path, body, data=data)
    if answer.content:
        assert not answer.json().get("errors"), (method, path, answer.text[:300])
        return answer.json()
    return None


def order_of(pem, name, product):
    return {
        "certificate": {
            "certificate_id": 0,
            "organization": {"id": ORGANIZATION},
            "common_name": name,
            "dns_names": [name],
            "csr": pem,
            "signature_hash": "sha256",
            # The provider takes the product's name for the intermediate's id.
            "ca_cert_id": product,
            "certificate_chain": None,
            "errors": None,
        },
        "organization": {"id": ORGANIZATION},
        "order_validity": {"days": 365},
        "payment_method": "balance",
        "renewal_of_order_id": 0,
        "dcv_method": "dns-txt-token",
    }


PRODUCT = "ssl_geotrust_truebizid"

with step("is there one already? No orders, no domains"):
    path = "/order/certificate?filters[status]=issued&sort=-date_created&filters[common_name]=tf.example.com"
    assert not (ask("GET", path).get("orders") or [])
    assert not (ask("GET", "/order/certificate?filters[status]=issued").get("orders") or [])

with step("products and intermediates"):
    products = go(ask("GET", "/product"), {"products": [{"name_id": str, "name": str}]})["products"]
    assert PRODUCT in [one["name_id"] for one in products], products
    shape = {"intermediates": [{"subject_common_name": str, "issuer_common_name": str}]}
    assert go(ask("GET", "/certificate/intermediates"), shape)["intermediates"]

with step("order, renewal of order 0"):
    pem, _ = csr("tf.example.com")
    placed = go(ask("POST", f"/order/certificate/{PRODUCT}", order_of(pem, "tf.example.com", PRODUCT)), PLACED)
    assert placed["id"] and placed["domains"] and re.fullmatch(r"\d{4}-\d\d-\d\d", placed["order_valid_till"]), placed

with step("proof: the domain's value, or the order's"):
    (domain,) = placed["domains"]
    shown = go(ask("GET", f"/domain/{domain['id']}?include_dcv=true&include_validation=true"), DOMAIN)
    assert shown["is_pending_validation"] is True, shown
    token = domain.get("dcv_token", {}).get("token") or placed.get("dcv_random_value")
    assert shown["dcv_token"]["token"] == token or placed.get("dcv_random_value") == token, shown
    place_txt(f"_dnsauth.{domain['name']}", token)
    ask("PUT", f"/domain/{domain['id']}/dcv/validate-token", data="")
    shown = go(ask("GET", f"/domain/{domain['id']}?include_dcv=true&include_validation=true"), DOMAIN)
    assert shown["is_pending_validation"] is False, shown
    listed = go(ask("GET", "/domain"), {"domains": [DOMAIN]})["domains"]
    assert [one["id"] for one in listed] == [domain["id"]], listed

with step("issued: order and chain; the certificate, its issuer, the root"):
    order = go(ask("GET", f"/order/certificate/{placed['id']}"), ORDER)
    assert order["status"] == "issued" and order["certificate"]["organization"]["id"] == ORGANIZATION, order
    chain = go(ask("GET", f"/certificate/{order['certificate']['id']}/chain"), {"intermediates": CHAIN})["intermediates"]
    assert chain and all(len(certificates(one["pem"])) == 1 for one in chain), chain

with step("reissue, with the order's body"):
    pem, _ = csr("tf.example.com")
    body = order_of(pem, "tf.example.com", PRODUCT)
    again = go(ask("POST", f"/order/certificate/{placed['id']}/reissue", body), PLACED)
    assert again["id"] == placed["id"], again

with step("revocations"):
    order = go(ask("GET", f"/order/certificate/{placed['id']}"), ORDER)
    data = '{\n\t\t"skip_approval": true\n\t}'
    assert ask("PUT", f"/certificate/{order['certificate']['id']}/revoke", data=data) is None
    data = '{\n\t\t"skip_approval": true\n\t\t}'
    assert ask("PUT", f"/order/certificate/{placed['id']}/revoke", data=data) is None

with step("order cancelled"):
    pem, _ = csr("tf.example.net")
    placed = ask("POST", f"/order/certificate/{PRODUCT}", order_of(pem, "tf.example.net", PRODUCT))
    data = '{\n\t\t"status": "canceled",\n\t\t"note": "Fail validate domain."\n\t}'
    assert ask("PUT", f"/order/certificate/{placed['id']}/status", data=data) is None

finish()
