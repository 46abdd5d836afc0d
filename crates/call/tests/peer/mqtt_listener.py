"""Subscribes with paho-mqtt to everything of a broker. Prints `ready`, then each message as a line of JSON."""

import json
import sys

import paho.mqtt.client as mqtt


def connected(client, *_):
    client.subscribe("#", qos=1)


def subscribed(*_):
    print("ready", flush=True)


def received(client, data, message):
    told = {
        "topic": message.topic,
        "payload": message.payload.decode(),
        "retain": message.retain,
        "qos": message.qos,
        "properties": dict(getattr(message.properties, "UserProperty", [])),
    }
    print(json.dumps(told), flush=True)


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
client.on_connect = connected
client.on_subscribe = subscribed
client.on_message = received
client.connect("127.0.0.1", int(sys.argv[1]))
client.loop_start()
sys.stdin.read()
