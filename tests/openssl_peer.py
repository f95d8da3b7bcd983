"""Speaks TLS through OpenSSL, as it is told on its standard input: the other side of tests/tls_openssl.rs.

Each line is an order in JSON, each answer a line in JSON. There are two answers: when it is ready, and what it has seen.
"""

import hashlib
import json
import socket
import ssl
import sys

TIMEOUT = 20
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def answer(line):
    print(json.dumps(line), flush=True)


def context(order, protocol, verify):
    result = ssl.SSLContext(protocol)
    result.check_hostname = False
    result.verify_mode = ssl.CERT_NONE
    result.minimum_version = result.maximum_version = VERSIONS[order["version"]]
    if order["ciphers"]:
        result.set_ciphers(order["ciphers"])
    if order["group"]:
        result.set_ecdh_curve(order["group"])
    if order["protocols"]:
        result.set_alpn_protocols(order["protocols"])
    if order["chain"]:
        result.load_cert_chain(order["chain"], order["key"])
    if order["trust"]:
        result.load_verify_locations(order["trust"])
        result.verify_mode = verify
    return result


def talk(stream, order):
    stream.sendall(order["says"].encode())
    heard = b""
    while len(heard) < order["hears"]:
        more = stream.recv(65536)
        if not more:
            break
        heard += more
    peer = stream.getpeercert(binary_form=True)
    answer(
        {
            "unique": stream.get_channel_binding("tls-unique").hex(),
            "protocol": stream.selected_alpn_protocol(),
            "cipher": stream.cipher()[0],
            "peer": peer and hashlib.sha256(peer).hexdigest(),
            "heard": heard.decode(),
        }
    )


def client(order):
    tls = context(order, ssl.PROTOCOL_TLS_CLIENT, ssl.CERT_REQUIRED)
    answer({"ready": True})
    with socket.create_connection(("127.0.0.1", order["port"]), TIMEOUT) as tcp:
        with tls.wrap_socket(tcp, server_hostname=order["name"]) as stream:
            talk(stream, order)


def server(order):
    tls = context(order, ssl.PROTOCOL_TLS_SERVER, ssl.CERT_OPTIONAL)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT)
        answer({"ready": True, "port": listener.getsockname()[1]})
        tcp, _ = listener.accept()
        tcp.settimeout(TIMEOUT)
        with tcp, tls.wrap_socket(tcp, server_side=True) as stream:
            talk(stream, order)


for line in sys.stdin:
    order = json.loads(line)
    try:
        {"client": client, "server": server}[order["role"]](order)
    except Exception as error:
        answer({"error": f"{type(error).__name__}: {error}"})
