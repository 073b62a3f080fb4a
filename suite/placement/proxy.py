"""Keeps what workers say to each other away from a proxy for the world outside.

gRPC, by which TensorFlow's workers speak, sends all of it to the proxy of `http_proxy`, the names
of this machine included, unless `no_proxy` has them. The proxy knows no worker, and all wait.
"""

import ipaddress
import logging
import socket
from collections.abc import Iterable, MutableMapping

log = logging.getLogger(__name__)

# In the order in which gRPC asks for them; it knows them in small letters only.
PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
EXCEPTIONS = ("no_grpc_proxy", "no_proxy")
LOCAL = ("localhost", "127.0.0.1", "[::1]")


def bypass(environment: MutableMapping[str, str], addresses: Iterable[str]) -> None:
    """Adds this machine's names to `no_proxy`, and warns of other hosts that it does not name.

    Args:
        environment: That of a worker, before TensorFlow opens a connection; changed in place.
        addresses: `host:port` of all workers.
    """
    variable = next((name for name in PROXIES if environment.get(name)), None)
    if variable is None:
        return
    exceptions = next((name for name in EXCEPTIONS if environment.get(name)), "no_proxy")
    names = [name.strip() for name in environment.get(exceptions, "").split(",")]
    hosts = {address.rpartition(":")[0] for address in addresses}
    local = {*LOCAL, *filter(_is_local, hosts)}
    environment[exceptions] = ",".join([*filter(None, names), *sorted(local - set(names))])
    if through_proxy := sorted(host for host in hosts - local if not _matches(host, names)):
        log.warning(
            "The workers' messages go through the proxy of %s, which may not let them: "
            "%s should name %s.",
            variable,
            exceptions,
            ",".join(through_proxy),
        )


def _is_local(host: str) -> bool:
    name = host.strip("[]")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower() in ("localhost", socket.gethostname().lower())


def _matches(host: str, names: Iterable[str]) -> bool:
    """Whether gRPC takes a host for one of `no_proxy`: a name that it ends with, or a network."""
    for name in filter(None, names):
        if host.lower().endswith(name.lower()):
            return True
        try:
            if ipaddress.ip_address(host.strip("[]")) in ipaddress.ip_network(name, strict=False):
                return True
        except ValueError:  # names, no numbers
            pass
    return False
