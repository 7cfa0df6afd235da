"""A ROS 2 node: images in, the overlay and one JSON line a frame out. UNTESTED: it needs a ROS 2 installation.

source /opt/ros/jazzy/setup.bash
python examples/ros2_node.py --ros-args -p engine:=engines/panoptic.plan -r image:=/camera/image_raw
"""

from __future__ import annotations

import json

import rclpy
from cv_bridge import CvBridge
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import String

import segopt


class SegoptNode(Node):
    def __init__(self) -> None:
        super().__init__("segopt")
        self.segmenter = segopt.load(self.declare_parameter("engine", "engines/panoptic.onnx").value)
        self.tracker, self.bridge = segopt.Tracker(), CvBridge()
        self.overlays = self.create_publisher(Image, "overlay", qos_profile_sensor_data)
        self.lines = self.create_publisher(String, "segments", 10)
        # Sensor data is best effort with a short queue: what comes while the network works is passed over.
        self.create_subscription(Image, "image", self.on_image, qos_profile_sensor_data)

    def on_image(self, message: Image) -> None:
        frame = self.bridge.imgmsg_to_cv2(message, "bgr8")
        time = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        result = self.tracker(self.segmenter(frame), time)
        if self.overlays.get_subscription_count():
            overlay = self.bridge.cv2_to_imgmsg(result.draw(frame), "bgr8")
            overlay.header = message.header
            self.overlays.publish(overlay)
        found = [{"name": s.name, "track": s.track, "area": s.area, "score": s.score} for s in result]
        self.lines.publish(String(data=json.dumps({"time": time, "segments": found})))


if __name__ == "__main__":
    rclpy.init()
    rclpy.spin(SegoptNode())
