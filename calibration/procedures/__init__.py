"""The procedures, one module each (or a family); `registry` names them and imports them when they are asked for."""
