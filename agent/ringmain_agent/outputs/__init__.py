"""From decisions to messages: limited setpoints, plans and states come in; payloads, reports and the status leave."""

__all__ = ["decision_reports", "forecast_accuracy", "leave_messages", "setpoint_sender", "status"]
