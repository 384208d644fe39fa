"""The same caller without an event loop: `SyncHubClient` has the same names, blocking."""

from central_hub import HubError, SyncHubClient


def main() -> None:
    """Validate one order."""
    with SyncHubClient(service_name="nightly-report", tenant_id="company_abc") as hub:
        try:
            answer = hub.request("risk-management", "POST", "/risk/validate", json={"quantity": 5}, timeout=2.0)
        except HubError as error:
            raise SystemExit(f"{error.message} {error.next_step}") from error
        print(answer.status, answer.json())
        print(hub.get_load_balanced_endpoint("risk-management"), hub.get_circuit_state("risk-management"))


if __name__ == "__main__":
    main()
